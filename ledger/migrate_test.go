package ledger_test

import (
	"testing"
	"time"

	"purepool/ledger/ledgertest"
)

func TestX(t *testing.T) {
	for range 3 {
		at := time.Now()
		db := ledgertest.New(t)
		t.Log(time.Since(at))
		if err := db.Backend().CheckVersion(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
