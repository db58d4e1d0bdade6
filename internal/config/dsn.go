package config

import (
	"net/url"
	"strings"
)

// SplitDSN takes the password out of a connection string, so that the rest may
// stand on the command line of Postgres' own tools and the password in their
// environment.
func SplitDSN(dsn string) (without, password string) {
	password = DSNPassword(dsn)
	if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		u, err := url.Parse(dsn)
		if err != nil {
			return dsn, password
		}
		if u.User != nil {
			u.User = url.User(u.User.Username())
		}
		q := u.Query()
		q.Del("password")
		u.RawQuery = q.Encode()
		return u.String(), password
	}
	var words []string
	for rest := dsn; ; {
		var word string
		if word, rest = dsnWord(rest); word == "" {
			return strings.Join(words, " "), password
		}
		if key, _, _ := strings.Cut(word, "="); strings.TrimSpace(key) != "password" {
			words = append(words, word)
		}
	}
}

// dsnWord returns the first key=value of a connection string, as it is written,
// and what follows. Values may stand in quotes, in which a backslash escapes.
func dsnWord(s string) (word, rest string) {
	s = strings.TrimLeft(s, " \t\r\n")
	quoted, value := false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case c == '\'':
			quoted = !quoted
			value = true
		case quoted:
		case c == '=':
			value = false // spaces may follow
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			next := strings.TrimLeft(s[i:], " \t\r\n")
			if value && !strings.HasPrefix(next, "=") {
				return s[:i], next
			}
		default:
			value = true
		}
	}
	return s, ""
}

// DSNWithDatabase is a connection string to another database of the same server.
func DSNWithDatabase(dsn, database string) (string, error) {
	if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		u, err := url.Parse(dsn)
		if err != nil {
			return "", err
		}
		u.Path = "/" + database
		q := u.Query()
		q.Del("dbname")
		u.RawQuery = q.Encode()
		return u.String(), nil
	}
	return dsn + " dbname='" + database + "'", nil // the last one counts
}
