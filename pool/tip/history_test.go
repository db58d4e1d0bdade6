package tip

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2018, 5, 20, 12, 0, 0, 0, time.UTC)

func hash(n byte) [32]byte { return [32]byte{31: n} }

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

// watched is a history of three blocks that were seen 7 minutes apart.
func watched() *History {
	h := NewHistory(Slack{Seen: 15 * time.Second, Approximate: 10 * time.Minute})
	for i := range 3 {
		h.Add(Tip{Height: int32(100 + i), Hash: hash(byte(i)), BlockTime: at(i*420 - 3), SeenAt: at(i * 420)})
	}
	return h
}

// Hazard V7: the original compared with the tip at processing time, so every
// backlog at a new block rejected good shares.
func TestShareIsJudgedAgainstTheTipAtItsArrival(t *testing.T) {
	h := watched()
	cases := []struct {
		name   string
		block  byte
		second int
		want   Standing
	}{
		{"tip when it arrived, two blocks ago", 0, 100, Current},
		{"just before the next tip", 0, 419, Current},
		{"within the slack after the next tip", 0, 434, Current},
		{"past the slack", 0, 436, Stale},
		{"the present tip, long after", 2, 100000, Current},
		{"a miner that saw the tip a little earlier", 1, 406, Current},
		{"before the tip can have been known", 1, 404, Stale},
		{"a block that never was the tip", 9, 500, Unknown},
	}
	for _, c := range cases {
		if _, got := h.At(hash(c.block), at(c.second)); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestUnwatchedTipsAreJudgedLeniently(t *testing.T) {
	h := watched()
	h.Add(Tip{Height: 103, Hash: hash(3), BlockTime: at(2000), SeenAt: at(2000), Approximate: true})
	if _, got := h.At(hash(2), at(2000+599)); got != Current {
		t.Errorf("share on the old tip within the slack of an unwatched block: %v", got)
	}
	if _, got := h.At(hash(3), at(2000-599)); got != Current {
		t.Errorf("share on a new tip before its header's time: %v", got)
	}
	if _, got := h.At(hash(2), at(2000+601)); got != Stale {
		t.Errorf("share on the old tip past the slack: %v", got)
	}
}

func TestBlockMayReignTwice(t *testing.T) {
	h := watched()
	h.Add(Tip{Height: 102, Hash: hash(7), SeenAt: at(1300)})
	h.Add(Tip{Height: 102, Hash: hash(2), SeenAt: at(1600)})
	for second, want := range map[int]Standing{1000: Current, 1400: Stale, 1700: Current} {
		if _, got := h.At(hash(2), at(second)); got != want {
			t.Errorf("second %d: %v, want %v", second, got, want)
		}
	}
}

func TestHeaderTimesNeedNotBeMonotonic(t *testing.T) {
	h := watched()
	h.Add(Tip{Height: 103, Hash: hash(3), SeenAt: at(10), Approximate: true})
	if last, _ := h.Last(); !last.SeenAt.Equal(at(840)) {
		t.Errorf("seen at %v, before its predecessor", last.SeenAt)
	}
}

func TestSameTipIsNotAddedTwice(t *testing.T) {
	h := watched()
	if h.Add(Tip{Height: 102, Hash: hash(2), SeenAt: at(5000)}) || h.Len() != 3 {
		t.Error("added again")
	}
}

func TestDroppingKeepsTheReignThatCoversTheMoment(t *testing.T) {
	h := watched()
	h.DropBefore(at(500))
	if h.Len() != 2 {
		t.Fatalf("%d tips left, want 2", h.Len())
	}
	if _, got := h.At(hash(1), at(500)); got != Current {
		t.Errorf("the tip of the moment was dropped: %v", got)
	}
	h.DropBefore(at(1 << 30))
	if last, ok := h.Last(); !ok || last.Hash != hash(2) {
		t.Error("the present tip was dropped")
	}
}

func TestMaxNonceFollowsTheClientsRule(t *testing.T) {
	tip := Tip{BlockTime: noon}
	for second, want := range map[int]uint32{-50: 512, 0: 512, 1: 512, 2: 512, 3: 768, 29: 7424, 1800: 460800, 1801: 999_999_999} {
		if got := MaxNonce(tip, at(second)); got != want {
			t.Errorf("after %d s: %d, want %d", second, got, want)
		}
	}
}

// Without slack, exactly one tip reigns at any moment after the first.
func TestExactlyOneTipReignsWithoutSlack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := NewHistory(Slack{})
		n := rapid.IntRange(1, 12).Draw(t, "n")
		second := 0
		for i := range n {
			second += rapid.IntRange(1, 50).Draw(t, "gap")
			h.Add(Tip{Height: int32(i), Hash: hash(byte(i)), SeenAt: at(second).Add(time.Millisecond)})
		}
		first := h.tips[0].SeenAt
		moment := first.Add(time.Duration(rapid.IntRange(0, 700).Draw(t, "moment")) * time.Second)
		reigning := 0
		for i := range n {
			if _, s := h.At(hash(byte(i)), moment); s == Current {
				reigning++
			}
		}
		// A moment that is the border itself belongs to both sides.
		for _, tip := range h.tips[1:] {
			if tip.SeenAt.Equal(moment) {
				reigning--
			}
		}
		if reigning != 1 {
			t.Fatalf("%d tips reign at %v", reigning, moment)
		}
	})
}
