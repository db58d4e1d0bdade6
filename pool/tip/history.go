// Package tip remembers which block was the chain's tip at which time, so that
// a share is judged against the tip of the moment at which it arrived, however
// long it lay in the queue and whatever was restarted meanwhile.
//
// [History] is the memory and pure; [Follower] keeps it true to the daemon and
// to the ledger.
package tip

import (
	"slices"
	"time"
)

// Tip is one block that was the chain's tip.
type Tip struct {
	Height int32
	Hash   [32]byte // big-endian
	// BlockTime is the time in the block's header.
	BlockTime time.Time
	// SeenAt is when the block became the tip as far as this backend knows.
	SeenAt time.Time
	// Approximate says that nobody was watching when the block became the tip:
	// SeenAt is then its header's time.
	Approximate bool
}

// Slack is how far the edges of a tip's reign are moved in favour of the miner.
type Slack struct {
	// Seen is for blocks whose arrival was watched: daemons do not all learn of a
	// block in the same second, nor do clocks agree.
	Seen time.Duration
	// Approximate is for blocks whose arrival is known from their header alone.
	Approximate time.Duration
}

// Default slacks.
const (
	DefaultSlackSeen        = 15 * time.Second
	DefaultSlackApproximate = 10 * time.Minute
)

// Standing is what a block was to the chain at some moment.
type Standing int

// Standings.
const (
	// Unknown: the block never was the tip as far as is known by now.
	Unknown Standing = iota
	// Current: the block was the tip, give or take the slack.
	Current
	// Stale: the block was the tip at another time.
	Stale
)

// History is a list of tips in the order in which they reigned. It is not safe
// for concurrent use.
type History struct {
	slack Slack
	tips  []Tip
	reign map[[32]byte][]int // indices into tips: a block may reign twice
}

// NewHistory returns an empty history.
func NewHistory(slack Slack) *History {
	return &History{slack: slack, reign: make(map[[32]byte][]int)}
}

// Add appends the next tip. A tip that reigns already is not added again; a
// SeenAt before that of the last tip is moved up to it, since header times are
// not monotonic.
func (h *History) Add(t Tip) (added bool) {
	if last, ok := h.Last(); ok {
		if last.Hash == t.Hash {
			return false
		}
		if t.SeenAt.Before(last.SeenAt) {
			t.SeenAt = last.SeenAt
		}
	}
	h.reign[t.Hash] = append(h.reign[t.Hash], len(h.tips))
	h.tips = append(h.tips, t)
	return true
}

// Last returns the present tip.
func (h *History) Last() (Tip, bool) {
	if len(h.tips) == 0 {
		return Tip{}, false
	}
	return h.tips[len(h.tips)-1], true
}

// At says what the block was at a moment, and returns the block where it is known.
func (h *History) At(block [32]byte, moment time.Time) (Tip, Standing) {
	reigns := h.reign[block]
	for _, i := range slices.Backward(reigns) {
		if !moment.Before(h.from(i)) && h.until(i, moment) {
			return h.tips[i], Current
		}
	}
	if len(reigns) == 0 {
		return Tip{}, Unknown
	}
	return h.tips[reigns[len(reigns)-1]], Stale
}

func (h *History) from(i int) time.Time {
	return h.tips[i].SeenAt.Add(-h.slackOf(i))
}

// until tells whether the reign of tip i lasted to the moment: it ends when the
// next tip is seen, and so with that tip's slack.
func (h *History) until(i int, moment time.Time) bool {
	if i+1 == len(h.tips) {
		return true
	}
	return !moment.After(h.tips[i+1].SeenAt.Add(h.slackOf(i + 1)))
}

func (h *History) slackOf(i int) time.Duration {
	if h.tips[i].Approximate {
		return h.slack.Approximate
	}
	return h.slack.Seen
}

// HeightReigned tells whether some tip of this height reigned at the moment.
func (h *History) HeightReigned(height int32, moment time.Time) bool {
	for i := range slices.Backward(h.tips) {
		if h.tips[i].Height == height && !moment.Before(h.from(i)) && h.until(i, moment) {
			return true
		}
		if h.tips[i].SeenAt.Before(moment.Add(-24 * time.Hour)) {
			return false
		}
	}
	return false
}

// Find returns the latest reign of a block.
func (h *History) Find(block [32]byte) (Tip, bool) {
	reigns := h.reign[block]
	if len(reigns) == 0 {
		return Tip{}, false
	}
	return h.tips[reigns[len(reigns)-1]], true
}

// DropBefore forgets all tips whose reign ended before the moment; the present
// one always stays.
func (h *History) DropBefore(moment time.Time) {
	n := 0
	for n+1 < len(h.tips) && h.tips[n+1].SeenAt.Before(moment) {
		n++
	}
	if n == 0 {
		return
	}
	kept := slices.Clone(h.tips[n:])
	h.tips = kept
	clear(h.reign)
	for i, t := range kept {
		h.reign[t.Hash] = append(h.reign[t.Hash], i)
	}
}

// Len is the number of tips remembered.
func (h *History) Len() int { return len(h.tips) }

// MaxNonce is the highest nonce that the classic chain's rule allows at a
// moment for a block on top of t: 256 for each second since t's block time, at
// least 512, and 999,999,999 once thirty minutes have passed (the client's
// `exec pinfo`; docs/PROTOCOL.md).
func MaxNonce(t Tip, moment time.Time) uint32 {
	elapsed := moment.Sub(t.BlockTime)
	if elapsed > 30*time.Minute {
		return 999_999_999
	}
	return max(512, uint32(max(0, elapsed/time.Second))*256)
}
