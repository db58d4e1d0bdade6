package pool_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"purepool/ledger/ledgertest"
	"purepool/pool"
	"purepool/pool/chain"
	"purepool/pool/job"
	"purepool/pool/queue"
)

const litecoinAddress = "mgSKZM72AZkJWt6UfhQpzoS5Ezc2y8x73E"

// counter is a front desk of a template network on a real ledger and broker, and
// the backend's end of the broker.
type counter struct {
	*pool.TemplateDesk
	t      *testing.T
	db     *ledgertest.DB
	broker *queue.Broker
	codec  *job.Codec

	mu   sync.Mutex
	told []*job.Job
	gone bool // the last one told is worth nothing
}

func openCounter(t *testing.T, silence time.Duration) *counter {
	t.Helper()
	c := &counter{t: t, db: ledgertest.New(t)}
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ids, err := c.db.Backend().Networks(t.Context())
	fail(err)
	c.codec, err = job.NewCodec()
	fail(err)
	c.broker, err = queue.Open(t.Context(), queue.Config{URL: "embedded:" + filepath.Join(t.TempDir(), "queue")})
	fail(err)
	fail(c.broker.Provision(t.Context(), "regtest"))
	fail(c.broker.ProvisionTemplate(t.Context(), "regtest"))
	publisher, err := queue.NewPublisher(c.broker, queue.PublisherConfig{Networks: []string{"regtest"}})
	fail(err)
	c.TemplateDesk, err = pool.NewTemplateDesk(pool.TemplateConfig{
		Frontend: "f1", Silence: silence, Logger: slog.New(slog.DiscardHandler),
		Network: pool.TemplateNetwork{Name: "regtest", ID: ids["regtest"], Chain: chain.LitecoinRegtest(), Algorithm: "scrypt"},
	}, c.db.Frontend(), publisher, c.broker)
	fail(err)
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { fail(c.Run(ctx)) })
	wg.Go(func() { fail(publisher.Run(ctx)) })
	t.Cleanup(func() {
		stop()
		wg.Wait()
		c.Close()
		fail(c.broker.Close())
	})
	c.Watch(func(j *job.Job, worthless bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.told, c.gone = append(c.told, j), worthless
	})
	return c
}

func (c *counter) job(seq uint64, change func(*job.Job)) *job.Job {
	j := &job.Job{
		Network: "regtest", Seq: seq, Algorithm: "scrypt", Height: int32(seq), Bits: 0x207fffff, Prev: chain.DoubleSHA256([]byte{byte(seq)}),
		Coinbase1: []byte{1}, Coinbase2: []byte{2}, Extranonce2Size: 4, Clean: true,
	}
	if change != nil {
		change(j)
	}
	return j
}

// tell tells a job as the backend does, until the last one heard is as wanted.
func (c *counter) tell(j *job.Job, heard func(*job.Job) bool) {
	c.t.Helper()
	var body []byte
	if j != nil {
		var err error
		if body, err = c.codec.EncodeJob(j); err != nil {
			c.t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); !c.last(heard); time.Sleep(5 * time.Millisecond) {
		if err := c.broker.TellJob(c.t.Context(), "regtest", body); err != nil {
			c.t.Fatal(err)
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%+v was not heard", j)
		}
	}
}

func (c *counter) last(want func(*job.Job) bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.told) > 0 && want(c.told[len(c.told)-1])
}

func seq(n uint64) func(*job.Job) bool {
	return func(j *job.Job) bool { return j != nil && j.Seq == n }
}

func none(j *job.Job) bool { return j == nil }

func TestJobsAreHandedOnOnceAndInOrder(t *testing.T) {
	c := openCounter(t, time.Minute)
	if c.Ready(t.Context()) == nil {
		t.Error("ready without a job")
	}
	c.tell(c.job(5, nil), seq(5))
	c.tell(c.job(7, nil), seq(7))
	for _, old := range []uint64{5, 7, 6} {
		body, err := c.codec.EncodeJob(c.job(old, nil))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.broker.TellJob(t.Context(), "regtest", body); err != nil {
			t.Fatal(err)
		}
	}
	c.tell(c.job(8, nil), seq(8))
	if len(c.told) != 3 || c.Ready(t.Context()) != nil {
		t.Errorf("%d jobs handed on", len(c.told))
	}
	var late *job.Job
	stop := c.Watch(func(j *job.Job, _ bool) { late = j })
	stop()
	if late == nil || late.Seq != 8 {
		t.Error("who comes later does not get the current job")
	}
}

func TestJobOnAnotherTipIsCleanForWhoMissedTheCleanOne(t *testing.T) {
	c := openCounter(t, time.Minute)
	c.tell(c.job(5, nil), seq(5))
	c.tell(c.job(7, func(j *job.Job) { j.Clean = false }), seq(7))
	c.tell(c.job(8, func(j *job.Job) { j.Clean, j.Prev = false, chain.DoubleSHA256([]byte{7}) }), seq(8))
	if !c.told[1].Clean || c.told[2].Clean {
		t.Errorf("clean: %v, %v", c.told[1].Clean, c.told[2].Clean)
	}
}

func TestNothingToMineOnIsTold(t *testing.T) {
	c := openCounter(t, 200*time.Millisecond)
	c.tell(c.job(5, nil), seq(5))
	c.tell(nil, none)
	if c.Ready(t.Context()) == nil {
		t.Error("ready")
	}
	c.tell(c.job(5, nil), seq(5)) // the daemons are back, on the same tip
	deadline := time.Now().Add(10 * time.Second)
	for !c.last(none) { // the backend is silent
		if time.Now().After(deadline) {
			t.Fatal("silence is not noticed")
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.tell(c.job(6, nil), seq(6))
}

// What is known to be worth nothing stays so until there is a job: that a daemon
// cannot be asked any more, or the backend is silent, changes nothing.
func TestWithdrawnJobIsToldAsWorthless(t *testing.T) {
	c := openCounter(t, 200*time.Millisecond)
	worthless := func(want bool) {
		t.Helper()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.gone != want || c.told[len(c.told)-1] != nil {
			t.Errorf("worthless: %v, last told: %v", c.gone, c.told[len(c.told)-1])
		}
	}
	c.tell(c.job(5, nil), seq(5))
	c.tell(nil, none)
	worthless(false)
	if err := c.broker.TellJob(t.Context(), "regtest", job.Withdrawn()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c.mu.Lock()
		gone := c.gone
		c.mu.Unlock()
		if gone {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the word is not heard")
		}
	}
	if err := c.broker.TellJob(t.Context(), "regtest", nil); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // and then there is silence
	worthless(true)
	if len(c.told) != 3 {
		t.Errorf("told %d times", len(c.told))
	}
	c.tell(c.job(6, nil), seq(6))
	if c.gone || c.Ready(t.Context()) != nil {
		t.Error("the next job is worth nothing, too")
	}
}

func TestJobsOfOthersAndRubbishAreNotHandedOn(t *testing.T) {
	c := openCounter(t, time.Minute)
	for _, j := range []*job.Job{c.job(5, func(j *job.Job) { j.Network = "main" }), c.job(6, func(j *job.Job) { j.Algorithm = "x11" })} {
		body, err := c.codec.EncodeJob(j)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.broker.TellJob(t.Context(), "regtest", body); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.broker.TellJob(t.Context(), "regtest", []byte("rubbish")); err != nil {
		t.Fatal(err)
	}
	c.tell(c.job(7, nil), seq(7))
	if len(c.told) != 1 {
		t.Errorf("%d jobs handed on", len(c.told))
	}
}

func TestWorkersOfTemplateNetworksAreAdmittedByTheirAddress(t *testing.T) {
	c := openCounter(t, time.Minute)
	first, err := c.Admit(t.Context(), pool.TemplateArrival{Address: litecoinAddress, Worker: "rig\x00\xff"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Admit(t.Context(), pool.TemplateArrival{Address: litecoinAddress, Worker: "rig\x00\xff"})
	if err != nil || again != first {
		t.Errorf("%d, then %d, %v", first, again, err)
	}
	nameless, err := c.Admit(t.Context(), pool.TemplateArrival{Address: litecoinAddress})
	if err != nil || nameless == first {
		t.Errorf("%d, %v", nameless, err)
	}
	var refusal *pool.Refusal
	if _, err := c.Admit(t.Context(), pool.TemplateArrival{Address: "B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH"}); !errors.As(err, &refusal) || refusal.Kind != pool.KindWorkerInvalid {
		t.Errorf("%v", err)
	}
	if _, err := c.db.SQL("postgres").ExecContext(t.Context(), `UPDATE miner SET enabled = false`); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Admit(t.Context(), pool.TemplateArrival{Address: litecoinAddress, Worker: "other"}); !errors.As(err, &refusal) || refusal.Kind != pool.KindMinerDisabled {
		t.Errorf("%v", err)
	}
}

func TestSharesOfATemplateNetworkTravelTogetherAndWinsAlone(t *testing.T) {
	c := openCounter(t, time.Minute)
	shares := []job.Share{{Job: 5, Worker: 1}, {Job: 5, Worker: 2}}
	if err := c.Put(t.Context(), shares); err != nil {
		t.Fatal(err)
	}
	if err := c.Win(t.Context(), shares[1]); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	deliveries, err := queue.Subscribe(ctx, c.broker, "regtest", queue.SubscribeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	d := <-deliveries
	got, err := c.codec.DecodeShares(d.Shares[0].Template)
	if err != nil || len(d.Shares) != 1 || len(got) != 2 || got[1].Worker != 2 || d.Shares[0].Frontend != "f1" {
		t.Errorf("%+v, %v", d.Shares, err)
	}
	d.Ack()
	err = c.broker.ConsumeBlocks(ctx, "regtest", func(_ context.Context, body []byte) error {
		won, err := c.codec.DecodeShares(body)
		if err != nil || len(won) != 1 || won[0].Worker != 2 {
			t.Errorf("%+v, %v", won, err)
		}
		cancel()
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
