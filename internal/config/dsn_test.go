package config_test

import (
	"strings"
	"testing"

	"purepool/internal/config"
)

func TestPasswordsAreTakenOutOfConnectionStrings(t *testing.T) {
	for _, c := range []struct{ dsn, want, password string }{
		{"postgres://u:s3cret@host/db?sslmode=disable", "postgres://u@host/db?sslmode=disable", "s3cret"},
		{"postgresql://u:a%40b@/db?host=/run/postgresql&sslmode=disable", "postgresql://u@/db?host=%2Frun%2Fpostgresql&sslmode=disable", "a@b"},
		{"host=/run user=u password=s3cret dbname=db sslmode=disable", "host=/run user=u dbname=db sslmode=disable", "s3cret"},
		{`host='/a b' password='it\'s = it' user=u sslmode=disable`, `host='/a b' user=u sslmode=disable`, "it's = it"},
		{"host = h  password = x  user = u sslmode=disable", "host = h user = u sslmode=disable", "x"},
		{"host=h user=u sslmode=disable", "host=h user=u sslmode=disable", ""},
		{"", "", ""},
	} {
		without, password := config.SplitDSN(c.dsn)
		if without != c.want || password != c.password {
			t.Errorf("%s: %q and %q, want %q and %q", c.dsn, without, password, c.want, c.password)
		}
		if c.password != "" && strings.Contains(without, c.password) {
			t.Errorf("%s still holds the password", without)
		}
	}
}
