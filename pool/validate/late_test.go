package validate_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/uuid"

	"purepool/bbprpc"
	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/pool/chain"
	"purepool/pool/job"
	"purepool/pool/queue"
	"purepool/pool/tip"
	"purepool/pool/validate"
)

// A refusal says what the share is worth should its block come to stand, if its
// place in the chain is all that is wrong with it. That is the backend's own finding:
// a frontend that lies gets a refusal that is worth nothing.
func TestTemplateShareThatIsOnlyLateKeepsItsWorth(t *testing.T) {
	p := newPit(t)
	late := func(change func(*job.Share)) job.Share {
		return p.find(p.issue(nil), hardest, func(s *job.Share) {
			s.Stale = true
			if change != nil {
				change(s)
			}
		})
	}
	elsewhere := func(name string, standing tip.Standing, age time.Duration) *job.Job {
		j := p.issue(func(j *job.Job) {
			j.Prev, j.IssuedAt = chain.DoubleSHA256([]byte(name)), job.MomentOf(time.Now().Add(-age))
		})
		p.tips.set(j.Prev, standing)
		return j
	}
	their := ledgertest.Value[int64](t, p.db, `SELECT miner_id FROM worker WHERE id = $1`, p.other)
	must(t, p.db.Backend().SetMinerEnabled(t.Context(), their, false, ledger.Reason{Who: "test", Why: "test"}))
	worth := hardest.Target().Weight()
	for name, c := range map[string]struct {
		share job.Share
		want  string
		worth int64
	}{
		"late by its frontend's word":        {late(nil), "StaleShare", worth},
		"on a block that is no tip any more": {p.find(elsewhere("old", tip.Stale, time.Second), hardest, nil), "StaleShare", worth},
		"on a block that never was the tip":  {p.find(elsewhere("side", tip.Unknown, 10*time.Minute), hardest, nil), "PrevBlockHashWrong", worth},
		"late, with a target that was chosen afterwards": {func() job.Share {
			s := p.find(p.issue(nil), hardest, func(s *job.Share) { s.Found.Target = easiest })
			s.Stale = true
			return s
		}(), "StaleShare", 0},
		"late, with an invented proof": {func() job.Share {
			s := late(nil)
			s.Found.Nonce++
			s.Proof = [32]byte{31: 1}
			return s
		}(), "StaleShare", 0},
		"late, with a time of its own":     {late(func(s *job.Share) { s.Found.Time += 3 * 3600 }), "StaleShare", 0},
		"late, and by far":                 {p.find(elsewhere("older", tip.Stale, 2*time.Hour), hardest, func(s *job.Share) { s.Stale = true }), "StaleShare", 0},
		"late, of a miner who is disabled": {late(func(s *job.Share) { s.Worker = p.other }), "MinerDisabled", 0},
		"late, of nobody":                  {late(func(s *job.Share) { s.Worker = 1 << 40 }), "UnknownWorker", 0},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second changes nothing
				must(t, p.Late(t.Context(), &c.share))
				p.want(c.share, c.want)
			}
			got := ledgertest.Value[int64](t, p.db, `SELECT coalesce(sum(weight), 0)::bigint FROM rejected_share WHERE id = $1`, uuid.UUID(job.Identity("regtest", &c.share)))
			if got != c.worth {
				t.Errorf("it is worth %d, not %d", got, c.worth)
			}
		})
	}
	if n := p.credited(); n != 0 {
		t.Errorf("%d credited", n)
	}
}

func TestClassicShareThatIsOnlyLateKeepsItsWorth(t *testing.T) {
	b := newBench(t, nil)
	timely, late, aside, broken := b.mine(), b.mine(), b.mine(), b.mine()
	b.judge(timely)
	user, password := b.daemon.Credentials()
	client, err := bbprpc.New(bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: b.daemon.URL(), User: user, Password: password}}, Timeout: 2 * time.Second})
	must(t, err)
	t.Cleanup(client.Close)
	tips := &standings{of: map[[32]byte]tip.Standing{}} // as a follower tells them once the chain has gone on
	v, err := validate.New(validate.Config{
		Network: "test", NetworkID: b.id,
		Rules: validate.Rules{Chain: chain.BiblePayTest(), PoolAddress: b.daemon.PoolAddress(), EasiestTarget: easy},
	}, b.store, validate.NewRPC(client), tips, b.dead)
	must(t, err)
	prev := b.daemon.Chain().Template().PrevHash
	tips.set(prev, tip.Stale)
	broken.Solution = bytes.Replace(broken.Solution, []byte(b.work.MinerGUID), []byte(uuid.NewString()), 1)
	must(t, v.Judge(t.Context(), []*queue.Share{late, broken}))
	tips.set(prev, tip.Unknown)
	must(t, v.Judge(t.Context(), []*queue.Share{aside}))
	b.want(timely, "credited")
	b.want(late, "TransactionTampered: Wrong height")
	b.want(aside, "PrevBlockHashWrong")
	want := ledgertest.Value[int64](t, b.db, `SELECT weight FROM share WHERE id = $1`, timely.ID)
	for _, s := range []*queue.Share{late, aside} {
		if worth := ledgertest.Value[int64](t, b.db, `SELECT coalesce(sum(weight), 0)::bigint FROM rejected_share WHERE id = $1`, s.ID); worth != want {
			t.Errorf("%s is worth %d, not %d", b.verdict(s), worth, want)
		}
	}
	if n := ledgertest.Value[int64](t, b.db, `SELECT count(*) FROM rejected_share WHERE id = $1 AND weight IS NULL`, broken.ID); n != 1 {
		t.Errorf("what is broken stands as %s", b.verdict(broken))
	}
}
