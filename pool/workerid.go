package pool

import (
	"strings"
	"unicode/utf8"
)

// Longest texts kept of a worker's own words, in characters. What is longer is
// cut, not refused, so that a long name never costs a miner its work.
const (
	maxWorkerName = 100
	maxEmail      = 254
	maxThreadID   = 20
	maxOS         = 50
	maxAgent      = 50
)

// DefaultWorker is the name of a worker that gave none.
const DefaultWorker = "Default"

// workerID is a parsed `address[/worker[/email]]`.
type workerID struct {
	Address string
	Worker  string
	Email   string
}

// parseWorkerID takes a worker id apart. The address is not checked here; an
// empty one is reported. Names are exact: no two spellings share a worker.
func parseWorkerID(raw string) (id workerID, ok bool) {
	address, rest, _ := strings.Cut(text(raw), "/")
	worker, rest, _ := strings.Cut(rest, "/")
	email, _, _ := strings.Cut(rest, "/")
	id = workerID{Address: address, Worker: cut(worker, maxWorkerName), Email: cut(email, maxEmail)}
	if id.Worker == "" {
		id.Worker = DefaultWorker
	}
	return id, address != ""
}

// text turns bytes of the wire into text that every store can hold: UTF-8 stays
// as it is, anything else is read as Latin-1, and NUL is left out, since
// Postgres has no place for it.
func text(raw string) string {
	if !utf8.ValidString(raw) {
		var b strings.Builder
		b.Grow(2 * len(raw))
		for i := range len(raw) {
			b.WriteRune(rune(raw[i]))
		}
		raw = b.String()
	}
	if strings.IndexByte(raw, 0) >= 0 {
		raw = strings.ReplaceAll(raw, "\x00", "")
	}
	return raw
}

// cut shortens s to at most n characters, never within one.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}
