package demo

import (
	"fmt"
	"time"
)

// pace is how fast the pool lives. Real blocks come every seven minutes, real
// clients hand a share in every two: nobody would look on.
type pace struct {
	times int // as fast as the ordinary one
	// interval is the least time between two solutions of a miner, strangers the
	// mean time between blocks of others, upsets the time between reorganisations.
	interval, strangers, upsets time.Duration
	// hashTarget is what a share asks for, bits what a block does.
	hashTarget string
	bits       uint32
	// often and seldom are the intervals of the backend's jobs.
	often, seldom time.Duration
	// minInterval is the least time between two payments to a miner.
	minInterval time.Duration
}

// ordinary asks for 256 hashes a share, so that a small machine shows life, and
// 65,536 a block.
func ordinary() pace {
	return pace{
		times: 1, interval: 4 * time.Second, strangers: 45 * time.Second, upsets: 10 * time.Minute,
		hashTarget: "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", bits: 0x1f00ffff,
		often: 2 * time.Second, seldom: time.Minute, minInterval: 2 * time.Minute,
	}
}

// fast does everything twenty times as often, with sixteen hashes a share and
// 4,096 a block.
func fast() pace {
	return pace{
		times: 20, interval: 200 * time.Millisecond, strangers: 2250 * time.Millisecond, upsets: 30 * time.Second,
		hashTarget: "0fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", bits: 0x1f0fffff,
		often: 300 * time.Millisecond, seldom: 3 * time.Second, minInterval: 6 * time.Second,
	}
}

// settings is the part of the configuration that the pace decides.
func (p *pace) settings() string {
	return fmt.Sprintf(`# Everything below is faster than in a real pool.
[backend.schedule]
watch = "%[1]v"
close_rounds = "%[1]v"
share_out = "%[1]v"
pay = "%[1]v"
roll_up = "%[2]v"
rate = "%[2]v"
audit = "%[2]v"

[network.%[3]s.settlement]
close_depth = 2
share_grace = "%[2]v"
confirmations = %[4]d
orphan_depth = 3

[network.%[3]s.payments]
enabled = true
threshold = "10"
min_interval = "%[5]v"
confirm_depth = 3
absent_delay = "11s"
retry_min = "1s"
retry_max = "%[5]v"
`, p.often, p.seldom, network, maturity+1, p.minInterval)
}
