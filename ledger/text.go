package ledger

import (
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"
)

// nameText returns a text that names something, cut to limit characters.
// Postgres takes neither NUL nor bytes that are not UTF-8; a name that is
// changed would be another name, so such a name is refused.
func nameText(s string, limit int) (string, error) {
	if s == "" || strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) {
		return "", ErrBadText
	}
	return cutText(s, limit), nil
}

// freeText returns a text that only informs: what Postgres does not take
// becomes U+FFFD, and it is cut to limit characters.
func freeText(s string, limit int) string {
	if len(s) > 4*limit { // no more than that can be kept: spare the rest
		s = s[:4*limit]
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	return cutText(s, limit)
}

func cutText(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	n := 0
	for i := range s {
		if n == limit {
			return s[:i]
		}
		n++
	}
	return s
}

// ipText returns the address as Postgres' inet takes it, nil where unknown.
func ipText(ip netip.Addr) *string {
	if !ip.IsValid() {
		return nil
	}
	s := ip.Unmap().WithZone("").String()
	return &s
}

// storedTime returns t as Postgres will return it: UTC, whole microseconds.
func storedTime(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// timeText writes a time for an array of timestamptz.
func timeText(t time.Time) string { return storedTime(t).Format("2006-01-02 15:04:05.999999Z07:00") }
