package stratum

import (
	"encoding/binary"

	"purepool/pool/job"
)

// A job's key is what a miner sees as its number: the job's own number, shifted
// by eight bits, plus an epoch. The epoch is 0 in a broadcast, and counts up from
// firstEpoch when the job that a session begins with, or the same job with another
// difficulty, is sent to one session alone: a submit always says which difficulty
// it was made for, and a share of an earlier session's job is known for one.
const (
	epochBits = 8
	lastEpoch = 1<<epochBits - 1
	// maxFirst leaves room for the changes of difficulty on the first job.
	maxFirst = lastEpoch - 16
)

func keyOf(seq uint64) uint64 { return seq << epochBits }

// firstEpoch is the epoch in which a session is sent its first job: another one
// than for the sessions next to it. What a miner found before it lost its
// connection, and hands in without naming its session, would otherwise pass for a
// share of the new session that proves nothing.
func firstEpoch(x job.Extranonce1) uint64 {
	return 1 + uint64(binary.BigEndian.Uint16(x[job.Extranonce1Size-2:]))%maxFirst
}

// asks remembers what a session's jobs asked for: from which key on which target
// held, newest first. Four changes are enough, because a session's difficulty is
// not changed again while that would forget what a job still open asked.
type asks struct {
	keys [4]uint64
	bits [4]job.Bits
}

// add notes that from this key on jobs ask for the target.
func (a *asks) add(key uint64, bits job.Bits) {
	copy(a.keys[1:], a.keys[:])
	copy(a.bits[1:], a.bits[:])
	a.keys[0], a.bits[0] = key, bits
}

// room reports whether add may be called without forgetting what a job from the
// oldest open key on asked.
func (a *asks) room(oldestOpen uint64) bool {
	last := len(a.keys) - 1
	return a.keys[last] == 0 || a.keys[last-1] <= oldestOpen
}

// lookup returns what the job of this key asked. superseded says that the same
// job was sent again later with another difficulty; ok is false for a job from
// before the session.
func (a *asks) lookup(key uint64) (bits job.Bits, superseded, ok bool) {
	for i, from := range a.keys {
		if from == 0 {
			break
		}
		if from <= key {
			return a.bits[i], i > 0 && a.keys[i-1]>>epochBits == key>>epochBits, true
		}
	}
	return 0, false, false
}
