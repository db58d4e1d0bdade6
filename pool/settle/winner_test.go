package settle_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/ledger/pgcluster"
	"purepool/pool/settle"
	"purepool/pool/settle/scheme"
)

// stale is the refusal of the share that is a block, which came too late by all
// that was known.
func (w *world) stale(name string, b *testBlock, weight int64) ledger.Verdict {
	w.t.Helper()
	v := w.verdict(name, w.now, weight)
	v.Height, v.Proof, v.Reason = int32(b.Height)-1, b.Hash, "StaleShare"
	return v
}

// wantShares checks what stands in the ledger, and that the roll-ups say the same.
func (w *world) wantShares(credited, refused int64) {
	w.t.Helper()
	if got, gotRefused := w.wantRollUps(); got != credited || gotRefused != refused {
		w.t.Errorf("want %d shares and %d refused, there are %d and %d", credited, refused, got, gotRefused)
	}
}

// wantRollUps checks that the roll-ups say of shares and refusals what the tables
// say, and returns how many there are.
func (w *world) wantRollUps() (credited, refused int64) {
	w.t.Helper()
	var got struct{ Shares, Refused, Minutes, MinutesRefused, Network, NetworkRefused, Reasons, Odd int64 }
	err := w.super.Get(&got, `SELECT
		(SELECT count(*) FROM share WHERE network_id = $1) AS shares,
		(SELECT count(*) FROM rejected_share WHERE network_id = $1) AS refused,
		(SELECT coalesce(sum(shares), 0) FROM share_minute WHERE network_id = $1)::bigint AS minutes,
		(SELECT coalesce(sum(rejected), 0) FROM share_minute WHERE network_id = $1)::bigint AS minutesrefused,
		(SELECT coalesce(sum(shares), 0) FROM network_minute WHERE network_id = $1)::bigint AS network,
		(SELECT coalesce(sum(rejected), 0) FROM network_minute WHERE network_id = $1)::bigint AS networkrefused,
		(SELECT coalesce(sum(rejected), 0) FROM reject_hour WHERE network_id = $1)::bigint AS reasons,
		(SELECT count(*) FROM network_minute m WHERE network_id = $1 AND (rejected < 0 OR weight <> (SELECT coalesce(sum(s.weight), 0)
			FROM share s WHERE s.network_id = $1 AND s.received_at >= m.minute AND s.received_at < m.minute + interval '1 minute'))) AS odd`, w.net)
	if err != nil {
		w.t.Fatal(err)
	}
	credited, refused = got.Shares, got.Refused
	if got.Minutes != credited || got.Network != credited ||
		got.MinutesRefused != refused || got.NetworkRefused != refused || got.Reasons != refused || got.Odd != 0 {
		w.t.Errorf("the roll-ups say something else: %+v", got)
	}
	return credited, refused
}

// P15: a share whose block stands was not stale, whenever and in whichever order
// the pool hears of it. Nobody else has worked in the round.
func TestAStaleShareWhoseBlockStandsIsCreditedToTheRoundThatItEnds(t *testing.T) {
	e := newEnv(t)
	type step func(w *world, v ledger.Verdict)
	judge := func(w *world, v ledger.Verdict) { w.judge(v) }
	look := func(w *world, _ ledger.Verdict) { w.look() }
	end := func(w *world, _ ledger.Verdict) { w.strangers(2); w.closeRounds() }
	for i, c := range []struct {
		scheme scheme.Name
		name   string
		steps  []step
		last   int // credited at the last look
	}{
		{scheme.Prop, "verdict, block", []step{judge, look}, 0},
		{scheme.Prop, "block, verdict", []step{look, judge}, 1},
		{scheme.Prop, "verdict, block, verdict again", []step{judge, look, judge, look, judge}, 0},
		{scheme.Prop, "block, round, verdict", []step{look, end, judge}, 1},
		{scheme.PPLNS, "block, round, verdict", []step{look, end, judge}, 1},
		{scheme.Solo, "block, round, verdict", []step{look, end, judge}, 1},
	} {
		t.Run(fmt.Sprint(c.scheme, ": ", c.name), func(t *testing.T) {
			w := newWorldOn(t, e, e.network(fmt.Sprint("w", i)), worldOptions{settler: settle.SettlerOptions{Scheme: c.scheme}})
			w.pass(time.Second)
			b := w.chain.mine(1000)
			v := w.stale("anna", b, 7)
			w.pass(time.Second)
			for _, do := range c.steps {
				do(w, v)
			}
			if p := w.look(); p.Won != c.last {
				t.Errorf("the last look credited %d shares", p.Won)
			}
			w.wantShares(1, 0)
			w.pass(time.Second)
			w.share("ben", 1000) // in the next round
			w.strangers(2)
			w.settle()
			w.wantBalances(map[string]int64{"anna": 1000, "ben": 0})
			if unclaimed := w.account("unclaimed"); unclaimed != 0 {
				t.Errorf("%d satoshis are unclaimed", unclaimed)
			}
			w.audit()
			if n := ledgertest.Value[int64](t, w.db, `SELECT count(*) FROM stale_winner WHERE network_id = $1`, w.net); n != 1 {
				t.Errorf("%d winners are written down", n)
			}
		})
	}
}

// network makes a network known, for tests that share a database.
func (e *env) network(name string) string {
	err := ledger.Migrate(context.Background(), e.db.Super(), ledger.MigrateOptions{Networks: []ledger.NetworkSeed{{Name: name}}})
	if err != nil {
		panic(err)
	}
	return name
}

// A verdict that comes when its round is paid counts in the next one, as any other.
func TestAStaleShareThatIsJudgedAfterItsRoundIsPaidCountsInTheNext(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.share("ben", 1)
	w.pass(time.Second)
	v := w.stale("anna", w.chain.mine(1000), 3)
	w.strangers(3)
	w.settle()
	w.wantBalances(map[string]int64{"anna": 0, "ben": 1000})
	w.judge(v)
	w.look()
	w.wantShares(2, 0)
	w.audit()
	w.pass(time.Second)
	w.find("ben", 1000) // weight 1 against 3
	w.strangers(2)
	w.settle()
	w.wantBalances(map[string]int64{"anna": 750, "ben": 1250})
	w.audit()
}

// On a chain whose block hash is not its proof, the submission tells which share it
// was; it may stand in the ledger after the block does.
func TestTheSubmissionTellsWhichStaleShareABlockWas(t *testing.T) {
	e := newEnv(t)
	for i, first := range []string{"submission", "block"} {
		t.Run(first+" first", func(t *testing.T) {
			none := func(context.Context, settle.BlockInfo) (*[32]byte, error) { return nil, nil } //nolint:nilnil // as a Proof says that it cannot be told
			w := newWorldOn(t, e, e.network(fmt.Sprint("s", i)), worldOptions{watcher: settle.WatcherOptions{Proof: none}})
			w.pass(time.Second)
			b := w.chain.mine(1000)
			v := w.stale("anna", b, 5)
			v.Proof[0] ^= 1 // not the block's hash
			w.judge(v)
			submit := func() {
				err := w.store.RecordSubmission(t.Context(), w.net, &ledger.BlockSubmission{
					Hash: b.Hash, Height: int32(b.Height), Seq: 1, ShareID: v.ShareID, Proof: v.Proof, WorkerID: v.WorkerID,
					ReceivedAt: v.ReceivedAt, SubmittedAt: v.ReceivedAt, Stale: true, Result: ledger.SubmissionInconclusive,
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if first == "block" {
				w.look()
				w.wantShares(0, 1)
			}
			submit()
			if p := w.look(); p.Won != 1 {
				t.Errorf("%+v", p)
			}
			w.wantShares(1, 0)
			w.strangers(2)
			w.settle()
			w.wantBalances(map[string]int64{"anna": 1000})
			w.audit()
		})
	}
}

func TestWhatIsRefusedForMoreThanItsPlaceStaysRefused(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.pass(time.Second)
	b := w.chain.mine(1000)
	worthless := w.stale("anna", b, 0) // stale, and something else is wrong with it
	aside := w.stale("ben", b, 3)
	aside.Proof[0] ^= 1 // sound, but no block of the chain
	theirs := w.stale("carl", w.chain.mine(0), 3)
	nobodys := w.stale("dora", b, 3)
	nobodys.WorkerID, nobodys.MinerID = 0, 0
	w.judge(worthless, aside, theirs, nobodys)
	if p := w.look(); p.Won != 0 {
		t.Errorf("%+v", p)
	}
	if n := ledgertest.Value[int64](t, w.db, `SELECT (SELECT count(*) FROM share) * 10 + (SELECT count(*) FROM rejected_share)`); n != 4 {
		t.Errorf("shares and refusals: %02d", n)
	}
	w.strangers(2)
	w.settle()
	if got := w.account("unclaimed"); got != 1000 {
		t.Errorf("%d satoshis are unclaimed", got)
	}
	w.audit()
}

// A side branch that wins makes its finding share count; when it loses again, the
// share stays in its round, which the next block pays, as after any orphan.
func TestAStaleShareOfASideBranchCountsOnceHoweverTheChainTurns(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.share("ben", 1)
	w.pass(time.Second)
	side := w.chain.mine(1000) // submitted late: others have a block of this height
	v := w.stale("anna", side, 3)
	w.chain.cut(1)
	w.chain.mine(0)
	w.judge(v)
	w.look()
	w.wantShares(1, 1)
	w.audit()
	others := w.chain.cut(1)
	w.chain.put(side)
	w.strangers(1) // the side branch is longer now
	w.wantShares(2, 0)
	w.audit()
	w.closeRounds()
	w.pass(time.Second)
	w.share("carl", 4) // in the next round
	w.chain.cut(2)
	w.chain.put(others...)
	w.strangers(3)
	if state := ledgertest.Value[string](t, w.db, `SELECT state FROM block`); state != ledger.BlockOrphaned {
		t.Fatalf("the block is %s", state)
	}
	w.wantShares(3, 0)
	w.settle()
	w.audit()
	w.chain.cut(4)
	w.chain.put(side)
	w.strangers(6) // and back again
	w.settle()
	w.wantShares(3, 0)
	w.wantBalances(map[string]int64{"anna": 750, "ben": 250, "carl": 0})
	w.audit()
}

// The orphan's shares, the stale one among them, are paid by the next block.
func TestAStaleShareOfABlockThatIsOrphanedIsPaidByTheNextOne(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.pass(time.Second)
	b := w.chain.mine(1000)
	w.judge(w.stale("anna", b, 3))
	w.look()
	w.closeRounds()
	w.chain.cut(1)
	w.strangers(3)
	w.pass(time.Second)
	w.find("ben", 1000)
	w.strangers(2)
	w.settle()
	w.wantBalances(map[string]int64{"anna": 750, "ben": 250})
	w.audit()
}

func TestWatchersThatCreditAtOnceCreditOnce(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.pass(time.Second)
	var refused []ledger.Verdict
	for range 20 {
		w.pass(time.Millisecond)
		refused = append(refused, w.stale("anna", w.chain.mine(100), 2))
	}
	var all errgroup.Group
	for i := range 4 {
		all.Go(func() error {
			for _, v := range refused {
				if _, err := w.store.WriteVerdicts(t.Context(), w.net, []ledger.Verdict{v}); err != nil {
					return err
				}
				if i%2 == 0 {
					if _, err := w.books.CreditWinners(t.Context(), w.net); err != nil {
						return err
					}
				}
			}
			return nil
		})
		all.Go(func() error {
			other := settle.NewWatcher(settle.WatcherOptions{
				Network: w.name, NetworkID: w.net, Proof: settle.BlockHashIsProof, Step: 3, Now: func() time.Time { return w.now },
			}, w.chain, w.books)
			settler, err := settle.NewSettler(settle.SettlerOptions{
				Network: w.name, NetworkID: w.net, CloseDepth: 1, Grace: -1, Confirmations: 1, Proof: settle.BlockHashIsProof, Now: func() time.Time { return w.now },
			}, w.chain, w.books)
			if err != nil {
				return err
			}
			for range 10 {
				_, err = other.Look(t.Context())
				_, closing := settler.CloseRounds(t.Context())
				_, sharing := settler.ShareOutAll(t.Context())
				if err := errors.Join(err, closing, sharing); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	w.look()
	w.wantShares(20, 0)
	w.audit()
}

// A validator credits another share with the proof at the moment at which the
// refused one is to be credited.
func TestAProofThatIsCreditedMeanwhileIsNotCreditedAgain(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.pass(time.Second)
	b := w.chain.mine(1000)
	w.judge(w.stale("anna", b, 3))
	rival := w.stale("ben", b, 3)
	w.look()
	rival.Reason = ""
	w.judge(rival)
	if n := ledgertest.Value[int64](t, w.db, `SELECT count(*) FROM rejected_share WHERE reason = $1 AND weight IS NULL`, ledger.ReasonDuplicate); n != 1 {
		t.Errorf("%d duplicates", n)
	}
	w.wantShares(1, 1)

	w.pass(time.Second)
	b = w.chain.mine(1000)
	w.judge(w.stale("anna", b, 3))
	rival = w.stale("ben", b, 3)
	rival.Reason = ""
	w.judge(rival) // first
	if p := w.look(); p.Won != 0 {
		t.Errorf("%+v", p)
	}
	w.wantShares(2, 2)
	w.audit()
}

// What an age without shares has dropped is not credited again, and a height of
// which no share was ever credited is.
func TestAWinnerIsCreditedWhereItIsTheFirstShareOfItsHeights(t *testing.T) {
	w := newWorld(t, worldOptions{})
	for range 400 {
		w.chain.mine(0)
	}
	w.pass(time.Second)
	w.judge(w.stale("anna", w.chain.mine(1000), 3))
	if p := w.look(); p.Won != 1 {
		t.Errorf("%+v", p)
	}
	w.wantShares(1, 0)
	w.audit()
	// The partition is dropped, a refusal with the same proof is kept for longer.
	again := w.stale("ben", w.chain.best[len(w.chain.best)-1], 3)
	w.judge(again)
	w.super.MustExec(`DROP TABLE share_n` + fmt.Sprint(w.net) + `_h400; UPDATE block SET seen_at = seen_at - interval '20 days'`)
	if p := w.look(); p.Won != 0 {
		t.Errorf("%+v", p)
	}
}

// The arrival that counts is the verdict's: what a frontend whose clock is slow or
// fast says of it draws no border.
func TestTheBorderIsTheArrivalByTheVerdictNotByTheSubmission(t *testing.T) {
	for _, off := range []time.Duration{-time.Minute, time.Minute} {
		w := newWorld(t, worldOptions{})
		w.pass(2 * time.Minute)
		w.share("anna", 1)
		w.pass(time.Second)
		b := w.chain.mine(1000)
		v := w.verdict("ben", w.now, 3)
		v.Height, v.Proof = int32(b.Height)-1, b.Hash
		err := w.store.RecordSubmission(t.Context(), w.net, &ledger.BlockSubmission{
			Hash: b.Hash, Height: int32(b.Height), Seq: 1, ShareID: v.ShareID, Proof: v.Proof, WorkerID: v.WorkerID,
			ReceivedAt: v.ReceivedAt.Add(off), SubmittedAt: v.ReceivedAt, Result: ledger.SubmissionAccepted,
		})
		if err != nil {
			t.Fatal(err)
		}
		w.look()
		w.judge(v)
		w.pass(time.Second)
		w.share("carl", 1000) // after the block
		w.strangers(2)
		w.settle()
		w.wantBalances(map[string]int64{"anna": 250, "ben": 750, "carl": 0})
		w.audit()
	}
}

func TestTheAuditSeesWinnersThatAreNotCreditedOnce(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.pass(time.Second)
	b := w.chain.mine(1000)
	w.judge(w.stale("anna", b, 3))
	w.look()
	w.audit()
	super := w.db.SQL(pgcluster.Superuser)
	faults := func() int64 {
		t.Helper()
		audit, err := w.books.Audit(t.Context(), w.net, ledger.AuditOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range audit.Checks {
			if c.Name == "shares whose block stands are not stale" {
				return c.Faults
			}
		}
		t.Fatal("there is no such check")
		return 0
	}
	for _, harm := range []struct{ do, undo string }{
		{`UPDATE share SET weight = 4`, `UPDATE share SET weight = 3`},
		{`UPDATE share SET miner_id = miner_id + 1`, `UPDATE share SET miner_id = miner_id - 1`},
		{`UPDATE share SET proof = sha256('x'), id = gen_random_uuid()`, `UPDATE share SET proof = w.proof, id = w.share_id FROM stale_winner w`},
		{
			`INSERT INTO rejected_share (received_at, network_id, id, reason) SELECT received_at, network_id, share_id, 'StaleShare' FROM stale_winner`,
			`DELETE FROM rejected_share`,
		},
		{
			`ALTER TABLE share DISABLE TRIGGER USER; UPDATE share SET proof = sha256('y');
			 UPDATE block SET proof = sha256('z'), seen_at = seen_at - interval '3 hours';
			 INSERT INTO rejected_share (received_at, judged_at, network_id, height, proof, id, reason, weight)
			 SELECT received_at, judged_at - interval '3 hours', network_id, height, sha256('z'), gen_random_uuid(), 'StaleShare', 3 FROM stale_winner`,
			`DELETE FROM rejected_share; UPDATE block SET proof = w.proof FROM stale_winner w; UPDATE share SET proof = w.proof FROM stale_winner w`,
		},
	} {
		super.MustExec(harm.do)
		if n := faults(); n == 0 {
			t.Errorf("nothing is wrong after %s", harm.do)
		}
		super.MustExec(harm.undo)
		if n := faults(); n != 0 {
			t.Errorf("%d faults after %s", n, harm.undo)
		}
	}
}
