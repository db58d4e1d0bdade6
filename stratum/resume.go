package stratum

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"

	"purepool/pool/job"
	"purepool/pool/pow"
)

// A miner whose connection broke comes back with the id of its old session in
// mining.subscribe, and gets its extranonce1 again: what it has searched and found
// meanwhile is worth what it was, also where the frontend has restarted. For that
// nothing is kept of any session. The id holds the extranonce1, under a seal that
// only this frontend can make, and the number of a job that binds its shares'
// targets says at its end which target the job was sent with; the target stands in
// the coinbase, so that a miner that names another one has found nothing.

const (
	sealSize      = 8
	sessionIDSize = job.Extranonce1Size + sealSize
)

// seals makes and checks the ids of sessions.
type seals struct{ key []byte }

func (k seals) seal(x job.Extranonce1) []byte {
	mac := hmac.New(sha256.New, k.key)
	mac.Write([]byte("session"))
	mac.Write(x[:])
	return mac.Sum(nil)[:sealSize]
}

// id returns the id of the session with an extranonce1.
func (k seals) id(x job.Extranonce1) (id [sessionIDSize]byte) {
	copy(id[copy(id[:], x[:]):], k.seal(x))
	return id
}

// open returns the extranonce1 of a session's id, in hex; false where it is none
// that was made with this key.
func (k seals) open(text []byte) (x job.Extranonce1, ok bool) {
	var id [sessionIDSize]byte
	if len(text) != hex.EncodedLen(sessionIDSize) {
		return x, false
	}
	if _, err := hex.Decode(id[:], text); err != nil {
		return x, false
	}
	copy(x[:], id[:])
	return x, hmac.Equal(id[job.Extranonce1Size:], k.seal(x))
}

// named is what a job's number says in a submit.
type named struct {
	key    uint64
	open   *openJob // nil where no such job is known
	target job.Bits // of jobs that bind their shares' targets
}

// boundDigits is the length of a target at the end of a job's number.
const boundDigits = 8

// named reads a job's number.
func (sh *shelf) named(text []byte) (n named) {
	if cut := len(text) - boundDigits; cut > 0 {
		key, okKey := hex64(text[:cut])
		target, okTarget := hex32(text[cut:])
		if open := sh.find(key); okKey && okTarget && open != nil && open.job.BindsTarget {
			return named{key, open, job.Bits(target)}
		}
	}
	if key, ok := hex64(text); ok {
		if open := sh.find(key); open != nil && !open.job.BindsTarget {
			return named{key: key, open: open}
		}
	}
	return named{}
}

// asked returns the target that the job was sent with to this session, or, where
// that was before the session was resumed, that its number says it was; false
// where it was never sent.
func (s *session) asked(n *named) (target job.Bits, ok bool) {
	bound := n.open.job.BindsTarget
	target, superseded, known := s.vary.asked.lookup(n.key)
	switch {
	case known && n.key <= s.vary.sent && (!bound || n.target == target):
		return target, !superseded || since(s.replacedAt, s.now()) <= replaceGrace
	case bound && s.has(resumed):
		return n.target, s.port.allows(n.target)
	}
	return 0, false
}

// allows reports whether sessions of the port are asked for such a target.
func (p *port) allows(target job.Bits) bool {
	if _, err := pow.TargetFromCompact(uint32(target)); err != nil {
		return false
	}
	t, easiest := target.Target(), job.BitsOf(p.book.algorithm, p.Vardiff.Min).Target()
	return bytes.Compare(t[:], easiest[:]) <= 0
}
