package miner

import (
	"context"
	"math/rand/v2"

	"purepool/pool/chain"
	"purepool/sim/daemon"
)

// Replay hands in the solution that a real client mined on the test net in
// February 2018, byte for byte. It is answered ok where the pool serves the test
// network and has the recording's miner and work in its ledger, and becomes a
// credited share where its daemon stands at the recording
// (daemon.Options.StandAtRecorded). The client's Version and OS are not used.
func Replay(ctx context.Context, c *Client) (Answer, error) {
	recorded := daemon.Recorded()
	then := *c
	then.Version, then.OS = "1.0.8.6", "LIN"
	somebody := RandomAddress(rand.New(rand.NewPCG(2018, 2)), chain.BiblePayTest()) //nolint:gosec // nobody knows who it was
	return then.Do(ctx, &Request{
		Action: "solution", Miner: somebody, Network: "test", Solution: recorded.Solution, ThreadID: recorded.Fields[fieldThreadID],
	})
}
