package stratum

import "purepool/pool/job"

// A job's key is what a miner sees as its number: the job's own number, shifted
// by four bits, plus an epoch. The epoch is 0 in a broadcast and counts up when
// the same job is sent to one session again with another difficulty, so that a
// submit always says which difficulty it was made for.
const (
	epochBits = 4
	lastEpoch = 1<<epochBits - 1
)

func keyOf(seq uint64) uint64 { return seq << epochBits }

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
