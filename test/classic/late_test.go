package classic

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"purepool/pool/chain"
	"purepool/pool/pow"
	"purepool/sim/daemon"
	"purepool/sim/miner"
	"purepool/test/house"
)

// standing is a node that goes on telling one template.
type standing struct {
	miner.Source
	template daemon.Template
}

func (s standing) Template(context.Context) (daemon.Template, error) { return s.template, nil }

// A miner's solution comes after somebody else's block of the same height, and is
// refused as late. Its block stands in the end, since the next one is found on it:
// the share was not late, and is credited, once.
func TestLateSolutionIsCreditedWhenItsBlockComesToStand(t *testing.T) {
	t.Setenv("PUREPOOL_BACKEND_ARRIVAL_GRACE", "3s") // until then a share is not late
	h := house.New(t, house.Options{
		Daemon: daemon.Options{Network: house.Network, Bits: 0x207fffff, BaseHeight: 1000, History: 12},
		Extra: `
[backend.schedule]
watch = "200ms"
`,
	})
	h.Run("all")
	c, network := h.Daemon.Chain(), chain.BiblePayTest()
	rng := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test's miner
	who, stranger := miner.RandomAddress(rng, network), miner.RandomAddress(rng, network)
	address, err := chain.DecodeAddress(who, network)
	must(t, err)
	digger := miner.NewDigger(miner.Identity{Address: address, CPID: "0123456789abcdef0123456789abcdef", Version: "1.1.3.8"}, rng)
	find := func(template daemon.Template, work *miner.Work) *miner.Solution {
		t.Helper()
		for {
			s, err := digger.Find(t.Context(), standing{template: template}, work)
			must(t, err)
			if s.Block != nil {
				return s
			}
		}
	}

	l := dial(t, h.Stratum)
	result, failure := l.call(1, "readytomine2", map[string]string{"Miner": who, "NetworkID": house.Network})
	var grant map[string]string
	if err := json.Unmarshal(result, &grant); err != nil {
		t.Fatalf("granted %s, %s", result, failure)
	}
	work := miner.Work{MinerGUID: grant["MINERGUID"], WorkID: grant["WORKID"]}
	work.PoolAddress, err = chain.DecodeAddress(grant["ADDRESS"], network)
	must(t, err)
	work.Target, err = pow.ParseTarget(grant["HASHTARGET"])
	must(t, err)
	template := c.Template()
	h.Eventually("the pool knows the chain", 20*time.Second, func() bool {
		return h.Count(`SELECT least((SELECT coalesce(max(height), 0) FROM purepool.tip), (SELECT coalesce(max(height), 0) FROM purepool.chain_block))`) == template.Height-1
	})
	ours := find(template, &work)
	theirs := c.MineStranger()
	h.Eventually("the pool knows the new tip, and for a while", 20*time.Second, func() bool {
		return h.Count(`SELECT count(*) FROM purepool.tip WHERE height = $1 AND NOT approximate AND seen_at < now() - interval '3s'`, theirs.Height) == 1
	})

	if _, failure = l.call(2, "solution", map[string]string{"Solution": ours.String(), "NetworkID": house.Network}); string(failure) != "null" {
		t.Fatalf("the front desk refuses the solution: %s", failure)
	}
	h.Eventually("the share is refused for its place in the chain alone", 20*time.Second, func() bool {
		return h.Count(`SELECT count(*) FROM purepool.rejected_share WHERE reason = 'TransactionTampered: Wrong height' AND weight > 0`) == 1
	})
	if reason, err := c.Submit(ours.Block); err != nil || reason != "inconclusive" || credited(h) != 0 {
		t.Fatalf("the miner's own node says %q, %v; %d shares are credited", reason, err, credited(h))
	}

	// The next block is found on it, by somebody else.
	template.Height, template.PrevTime, template.Time = template.Height+1, template.Time, template.Time+1
	template.PrevHash, err = chain.ParseHash(ours.Fields[0])
	must(t, err)
	elsewhere := work
	elsewhere.PoolAddress, err = chain.DecodeAddress(stranger, network)
	must(t, err)
	if reason, err := c.Submit(find(template, &elsewhere).Block); err != nil || reason != "" {
		t.Fatalf("the block on top is answered %q, %v", reason, err)
	}
	h.Eventually("the share is credited", 20*time.Second, func() bool { return credited(h) == 1 })
	if n := h.Count(`SELECT count(*) FROM purepool.rejected_share`); n != 0 {
		t.Errorf("%d refusals stand beside it", n)
	}
	if n := h.Count(`SELECT count(*) FROM purepool.stale_winner w JOIN purepool.block b ON b.id = w.block_id JOIN purepool.miner m ON m.id = b.finder_id
		WHERE b.main AND b.height = $1 AND b.share_id = w.share_id AND m.address = $2`, theirs.Height, who); n != 1 {
		t.Errorf("%d blocks are its own", n)
	}
	h.Purepool("admin", "audit")
}
