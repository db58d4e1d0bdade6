package validate_test

import (
	"context"
	"encoding/binary"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/pool/chain"
	"purepool/pool/job"
	"purepool/pool/pow"
	"purepool/pool/queue"
	"purepool/pool/tip"
	"purepool/pool/validate"
)

// standings says what a block was when a share arrived; a block that it does not
// know was the tip.
type standings struct {
	mu sync.Mutex
	of map[[32]byte]tip.Standing
}

func (s *standings) set(block chain.Hash, standing tip.Standing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of[block.Display()] = standing
}

func (s *standings) Judge(_ context.Context, block [32]byte, height int32, _ time.Time) (tip.Tip, tip.Standing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if standing, ok := s.of[block]; ok {
		return tip.Tip{Height: height, Hash: block}, standing, nil
	}
	return tip.Tip{Height: height, Hash: block}, tip.Current, nil
}

func (*standings) HeightReigned(int32, time.Time) bool { return true }

func (*standings) MaxNonce(tip.Tip, time.Time) uint32 { return 0 }

// shelf holds the jobs that were issued; away makes it as unreachable as a
// database.
type shelf struct {
	mu   sync.Mutex
	jobs map[uint64]*job.Job
	away bool
}

func (s *shelf) Job(_ context.Context, seq uint64) (*job.Job, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, false, context.DeadlineExceeded
	}
	j := s.jobs[seq]
	return j, j == nil, nil
}

func (s *shelf) put(j *job.Job) *job.Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jobs[j.Seq] = j
	return j
}

// wins are the shares that were taken for blocks.
type wins struct {
	mu     sync.Mutex
	shares []job.Share
}

func (w *wins) Win(_ context.Context, s *job.Share) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shares = append(w.shares, *s)
	return nil
}

// pit is a template validator on a real ledger and a real broker's dead letters.
type pit struct {
	*validate.Template
	t     *testing.T
	db    *ledgertest.DB
	codec *job.Codec
	dead  *queue.DeadLetters
	shelf *shelf
	tips  *standings
	wins  *wins
	id    int16
	mine  int64 // a worker
	other int64 // another miner's worker
	a     job.Assembler
}

// The targets of the pit: the easiest and the hardest that it allows.
var (
	easiest = job.BitsOf("sha256d", 1e-9)
	hardest = job.BitsOf("sha256d", 1e-6)
)

func newPit(t *testing.T) *pit {
	t.Helper()
	p := &pit{
		t: t, db: ledgertest.New(t), shelf: &shelf{jobs: make(map[uint64]*job.Job)},
		tips: &standings{of: make(map[[32]byte]tip.Standing)}, wins: new(wins),
	}
	store := p.db.Backend()
	ids, err := store.Networks(t.Context())
	must(t, err)
	p.id = ids["regtest"]
	front := p.db.Frontend()
	for i, who := range []*int64{&p.mine, &p.other} {
		w, err := front.EnsureWorker(t.Context(), p.id, []string{"mgSKZM72AZkJWt6UfhQpzoS5Ezc2y8x73E", "mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm"}[i], "rig", "")
		must(t, err)
		*who = w.ID
	}
	p.codec, err = job.NewCodec()
	must(t, err)
	broker, err := queue.Open(t.Context(), queue.Config{URL: "embedded:" + filepath.Join(t.TempDir(), "queue")})
	must(t, err)
	t.Cleanup(func() { must(t, broker.Close()) })
	must(t, broker.Provision(t.Context(), "regtest"))
	p.dead = broker.DeadLetters()
	p.Template, err = validate.NewTemplate(validate.TemplateConfig{
		Config: validate.Config{
			Network: "regtest", NetworkID: p.id, Rules: validate.Rules{EasiestTarget: easiest.Target()},
			Tries: 3, MinWait: time.Millisecond, MaxWait: 10 * time.Millisecond,
		},
		HardestBits: hardest, JobPatience: 200 * time.Millisecond,
	}, store, p.shelf, p.wins, p.tips, p.dead)
	must(t, err)
	return p
}

// issue issues a job that binds its targets, whose block needs 2^32 hashes.
func (p *pit) issue(change func(*job.Job)) *job.Job {
	now := time.Now()
	j := &job.Job{
		Network: "regtest", Seq: uint64(now.UnixNano()) / 1000, Algorithm: "sha256d", Height: 100, Version: 0x20000000,
		Prev: chain.DoubleSHA256([]byte("prev")), Bits: 0x1d00ffff, Time: uint32(now.Unix()), MinTime: uint32(now.Unix() - 600),
		Coinbase1: []byte("first"), Coinbase2: []byte("second"), Extranonce2Size: 4, IssuedAt: job.MomentOf(now.Add(-time.Second)),
		BindsTarget: true,
	}
	if change != nil {
		change(j)
	}
	return p.shelf.put(j)
}

// find searches a share that meets its target.
func (p *pit) find(j *job.Job, target job.Bits, change func(*job.Share)) job.Share {
	p.t.Helper()
	s := job.Share{
		Job: j.Seq, Target: target, Worker: p.mine, ReceivedAt: job.MomentOf(time.Now()), RemoteIP: netip.MustParseAddr("192.0.2.7"),
		Found: job.Found{Extranonce1: job.MakeExtranonce1(1, uint64(time.Now().UnixNano())), Extranonce2Size: 4, Time: j.Time, Target: target},
	}
	if !j.BindsTarget {
		s.Found.Target = 0
	}
	if change != nil {
		change(&s)
	}
	bound := s.Target.Target()
	for !bound.MetBy(p.a.Proof(j, &s.Found)) {
		s.Found.Nonce++
	}
	return s
}

func (p *pit) message(shares ...job.Share) *queue.Share {
	p.t.Helper()
	body, err := p.codec.EncodeShares(shares)
	must(p.t, err)
	return &queue.Share{ID: uuid.Must(uuid.NewV7()), ReceivedAt: time.Now().UTC(), Frontend: "f1", Template: body}
}

func (p *pit) judge(messages ...*queue.Share) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	must(p.t, p.Judge(ctx, messages))
}

// verdict is where a share stands, by its identity in the ledger.
func (p *pit) verdict(s job.Share) string {
	p.t.Helper()
	return ledgertest.Value[string](p.t, p.db, `SELECT coalesce(
		(SELECT 'credited' FROM share WHERE id = $1), (SELECT reason FROM rejected_share WHERE id = $1), 'nowhere')`,
		uuid.UUID(job.Identity("regtest", &s)))
}

func (p *pit) want(s job.Share, verdict string) {
	p.t.Helper()
	if got := p.verdict(s); got != verdict {
		p.t.Errorf("the share stands there as %q, want %q", got, verdict)
	}
}

func (p *pit) credited() int64 {
	return ledgertest.Value[int64](p.t, p.db, `SELECT count(*) FROM share`)
}

func TestTemplateShareIsCreditedByTheTargetItWasSentWith(t *testing.T) {
	p := newPit(t)
	j := p.issue(nil)
	for _, bits := range []job.Bits{easiest, hardest} {
		s := p.find(j, bits, nil)
		p.judge(p.message(s))
		p.want(s, "credited")
		row := ledgertest.Value[int64](t, p.db, `SELECT weight FROM share WHERE id = $1`, uuid.UUID(job.Identity("regtest", &s)))
		if row != bits.Target().Weight() {
			t.Errorf("weight %d, want %d", row, bits.Target().Weight())
		}
	}
	if n := ledgertest.Value[int64](t, p.db, `SELECT sum(height) FROM share`); n != 2*99 {
		t.Errorf("a share's height is that of the block before: %d", n)
	}
}

func TestManyTemplateSharesTravelAndAreJudgedTogether(t *testing.T) {
	p := newPit(t)
	j := p.issue(nil)
	var messages []*queue.Share
	for range 5 {
		var shares []job.Share
		for range 1000 {
			shares = append(shares, p.find(j, easiest, nil))
		}
		messages = append(messages, p.message(shares...))
	}
	p.judge(messages...)
	p.judge(messages[2]) // again, as after a lost acknowledgement
	if n := p.credited(); n != 5000 {
		t.Errorf("%d credited", n)
	}
	if n := ledgertest.Value[int64](t, p.db, `SELECT count(*) FROM rejected_share`); n != 0 {
		t.Errorf("%d rejected", n)
	}
}

// A frontend that was broken into can put anything on the queue. It must not mint
// a credited share.
func TestLyingFrontendGetsNoTemplateShareCredited(t *testing.T) {
	p := newPit(t)
	for name, c := range map[string]struct {
		lie  func() job.Share
		want string
	}{
		"a job that was never issued": {func() job.Share {
			j := *p.issue(nil)
			j.Seq += 1 << 40
			return p.find(&j, easiest, nil)
		}, "UnknownJob"},
		"a job of his own, under the number of a real one": {func() job.Share {
			own := *p.issue(nil)
			own.Coinbase2 = []byte("pays the thief")
			return p.find(&own, hardest, nil)
		}, "HashTargetExceeded"},
		"an invented proof": {func() job.Share {
			s := p.find(p.issue(nil), hardest, nil)
			s.Found.Nonce++
			s.Proof = [32]byte{31: 1}
			return s
		}, "HashTargetExceeded"},
		"a target that is harder than what was searched for, and met": {func() job.Share {
			j := p.issue(nil)
			s := p.find(j, hardest, func(s *job.Share) { s.Found.Target = easiest })
			return s
		}, "WorkTampered"},
		"the same with a coinbase to match": {func() job.Share {
			j := p.issue(nil)
			s := p.find(j, hardest, func(s *job.Share) { s.Found.Target = easiest })
			s.Found.Target = hardest
			return s
		}, "HashTargetExceeded"},
		"a target easier than the pool's easiest": {func() job.Share {
			return p.find(p.issue(nil), job.BitsOf("sha256d", 1e-11), nil)
		}, "WorkTampered"},
		"a target harder than the pool's hardest, met by chance": {func() job.Share {
			return p.find(p.issue(nil), job.BitsOf("sha256d", 3e-6), nil)
		}, "WorkTampered"},
		"a target that is no number": {func() job.Share {
			s := p.find(p.issue(nil), easiest, nil)
			s.Target, s.Found.Target = 0xff123456, 0xff123456
			return s
		}, "WorkTampered"},
		"a worker that is nobody": {func() job.Share {
			return p.find(p.issue(nil), easiest, func(s *job.Share) { s.Worker = 1 << 40 })
		}, "UnknownWorker"},
		"bits of the version that are not the miner's": {func() job.Share {
			return p.find(p.issue(nil), easiest, func(s *job.Share) { s.Found.VersionBits = 1 << 20 })
		}, "VersionBitsWrong"},
		"an extranonce of another length": {func() job.Share {
			return p.find(p.issue(nil), easiest, func(s *job.Share) { s.Found.Extranonce2Size = 8 })
		}, "ExtranonceWrong"},
		"a time before the template's": {func() job.Share {
			j := p.issue(nil)
			return p.find(j, easiest, func(s *job.Share) { s.Found.Time = j.MinTime - 1 })
		}, "TimeOutOfRange"},
		"a time far ahead": {func() job.Share {
			return p.find(p.issue(nil), easiest, func(s *job.Share) { s.Found.Time += 3 * 3600 })
		}, "TimeOutOfRange"},
		"a share that was stale": {func() job.Share {
			return p.find(p.issue(nil), easiest, func(s *job.Share) { s.Stale = true })
		}, "StaleShare"},
		"a job on a block that was not the tip any more": {func() job.Share {
			j := p.issue(func(j *job.Job) { j.Prev = chain.DoubleSHA256([]byte("old")) })
			p.tips.set(j.Prev, tip.Stale)
			return p.find(j, easiest, nil)
		}, "StaleShare"},
		"a job that is old": {func() job.Share {
			j := p.issue(func(j *job.Job) { j.IssuedAt = job.MomentOf(time.Now().Add(-2 * time.Hour)) })
			return p.find(j, easiest, nil)
		}, "WorkExpired"},
	} {
		t.Run(name, func(t *testing.T) {
			s := c.lie()
			p.judge(p.message(s))
			p.want(s, c.want)
		})
	}
	if n := p.credited(); n != 0 {
		t.Errorf("%d shares credited", n)
	}
}

// What a frontend can do is rename the shares of its own miners; what others have
// handed in is known.
func TestShareOfAnotherFrontendCannotBeRenamed(t *testing.T) {
	p := newPit(t)
	s := p.find(p.issue(nil), easiest, nil)
	p.judge(p.message(s))
	stolen := s
	stolen.Worker = p.other
	p.judge(p.message(stolen))
	p.want(s, "credited")
	p.want(stolen, "BibleHashAlreadyKnown")
	again := s
	again.ReceivedAt += 5_000_000 // sent once more by a miner that had no answer
	p.judge(p.message(again))
	if n := ledgertest.Value[int64](t, p.db, `SELECT count(*) FROM rejected_share`); n != 1 || p.credited() != 1 {
		t.Errorf("%d credited, %d rejected", p.credited(), n)
	}
}

func TestSameTemplateShareOverTwoFrontendsAtOnceCountsOnce(t *testing.T) {
	p := newPit(t)
	j := p.issue(nil)
	var shares []job.Share
	for range 200 {
		shares = append(shares, p.find(j, easiest, nil))
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { p.judge(p.message(shares...)) })
	}
	wg.Wait()
	if n := ledgertest.Value[int64](t, p.db, `SELECT count(*) FROM rejected_share`); n != 0 || p.credited() != 200 {
		t.Errorf("%d credited, %d rejected", p.credited(), n)
	}
}

func TestJobThatBindsNothingIsJudgedByTheClaimWithinTheRange(t *testing.T) {
	p := newPit(t)
	j := p.issue(func(j *job.Job) { j.BindsTarget = false })
	s := p.find(j, hardest, nil)
	p.judge(p.message(s))
	p.want(s, "credited")
}

func TestWinningShareIsHandedOnWhoeverMadeIt(t *testing.T) {
	p := newPit(t)
	j := p.issue(func(j *job.Job) { j.Bits = 0x207fffff })
	nobody := p.find(j, easiest, func(s *job.Share) { s.Worker = 1 << 40 })
	for i := range uint32(1000) {
		target := pow.Target{}
		binary.BigEndian.PutUint32(target[:], 0x7fffff00)
		if target.MetBy(p.a.Proof(j, &nobody.Found)) {
			break
		}
		nobody.Found.Nonce += i + 1
	}
	p.judge(p.message(nobody))
	if len(p.wins.shares) != 1 || p.wins.shares[0].Job != j.Seq {
		t.Errorf("%d winning shares", len(p.wins.shares))
	}
	hard := p.find(p.issue(nil), easiest, nil)
	p.judge(p.message(hard))
	if len(p.wins.shares) != 1 {
		t.Error("a share that makes no block was handed on")
	}
}

func TestJobOfAnotherBackendIsWaitedFor(t *testing.T) {
	p := newPit(t)
	j := p.issue(func(j *job.Job) { j.Seq = uint64(time.Now().UnixMilli()) })
	s := p.find(j, easiest, nil)
	p.shelf.mu.Lock()
	delete(p.shelf.jobs, j.Seq)
	p.shelf.mu.Unlock()
	go func() {
		time.Sleep(30 * time.Millisecond)
		p.shelf.put(j)
	}()
	p.judge(p.message(s))
	p.want(s, "credited")
}

func TestLedgerThatIsAwayIsWaitedForWithTemplateShares(t *testing.T) {
	p := newPit(t)
	j := p.issue(nil)
	s := p.find(j, easiest, nil)
	p.shelf.mu.Lock()
	p.shelf.away = true
	p.shelf.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.Judge(ctx, []*queue.Share{p.message(s)}); err == nil {
		t.Error("judged")
	}
	p.want(s, "nowhere")
	p.shelf.mu.Lock()
	p.shelf.away = false
	p.shelf.mu.Unlock()
	p.judge(p.message(s))
	p.want(s, "credited")
}

func TestDisabledMinersTemplateSharesAreNotCredited(t *testing.T) {
	p := newPit(t)
	j := p.issue(nil)
	for set, want := range map[string]string{"enabled = false": "MinerDisabled", "enabled = true, ignore_shares = true": "MinerIgnored"} {
		_, err := p.db.SQL("postgres").ExecContext(t.Context(), `UPDATE miner SET `+set)
		must(t, err)
		s := p.find(j, easiest, nil)
		p.judge(p.message(s))
		p.want(s, want)
	}
}

func TestMessageWithoutSharesIsWrittenDownOnce(t *testing.T) {
	p := newPit(t)
	m := &queue.Share{ID: uuid.Must(uuid.NewV7()), ReceivedAt: time.Now(), Template: []byte("\x01junk")}
	sound := p.find(p.issue(nil), easiest, nil)
	p.judge(m, p.message(sound), &queue.Share{ID: uuid.Must(uuid.NewV7()), Solution: []byte("a classic share"), ReceivedAt: time.Now()})
	p.judge(m)
	p.want(sound, "credited")
	if n := ledgertest.Value[int64](t, p.db, `SELECT count(*) FROM rejected_share WHERE reason = 'SolutionInvalid' AND received_at <= now()`); n != 2 {
		t.Errorf("%d records", n)
	}
}

// breaking is a ledger with a fault in the program for one share.
type breaking struct {
	validate.TemplateStore
	on uuid.UUID
}

func (b breaking) WriteVerdicts(ctx context.Context, network int16, verdicts []ledger.Verdict) (ledger.Written, error) {
	for i := range verdicts {
		if verdicts[i].ShareID == b.on {
			panic("a fault in the program")
		}
	}
	return b.TemplateStore.WriteVerdicts(ctx, network, verdicts)
}

func TestTemplateShareThatBreaksTheProgramIsSetAsideAlone(t *testing.T) {
	p := newPit(t)
	j := p.issue(nil)
	shares := []job.Share{p.find(j, easiest, nil), p.find(j, easiest, nil), p.find(j, easiest, nil)}
	v, err := validate.NewTemplate(validate.TemplateConfig{Config: validate.Config{
		Network: "regtest", NetworkID: p.id, Rules: validate.Rules{EasiestTarget: easiest.Target()}, Tries: 2, MinWait: time.Millisecond,
	}}, breaking{p.db.Backend(), job.Identity("regtest", &shares[1])}, p.shelf, p.wins, p.tips, p.dead)
	must(t, err)
	must(t, v.Judge(t.Context(), []*queue.Share{p.message(shares...)}))
	p.want(shares[0], "credited")
	p.want(shares[1], "nowhere")
	p.want(shares[2], "credited")
	letters, err := p.dead.List(t.Context(), "regtest", 0)
	must(t, err)
	if len(letters) != 1 {
		t.Fatalf("%d dead letters", len(letters))
	}
	p.judge(letters[0].Share) // replayed after the repair
	p.want(shares[1], "credited")
}
