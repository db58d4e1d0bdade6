package job_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"purepool/pool/chain"
	"purepool/pool/job"
	"purepool/pool/pow"
)

// recorded is a template of a running BiblePay daemon and the block that it
// accepted for it.
type recorded struct {
	Template struct {
		Version  uint32 `json:"version"`
		Prev     string `json:"previousblockhash"`
		Bits     string `json:"bits"`
		CurTime  uint32 `json:"curtime"`
		MinTime  uint32 `json:"mintime"`
		Height   int32  `json:"height"`
		Contents []struct {
			Hash string `json:"hash"`
		} `json:"transactions"`
	} `json:"template"`
	ScriptSig   string `json:"coinbase_scriptsig"`
	Coinbase    string `json:"coinbase_hex"`
	Header      string `json:"header_hex"`
	Nonce       uint32 `json:"nonce"`
	BlockHash   string `json:"block_hash"`
	MerkleRoot  string `json:"merkle_root_internal"`
	CoinbaseTxs string `json:"coinbase_txid"`
}

func load(t testing.TB, name string) (*recorded, *job.Job, *job.Found) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	r := new(recorded)
	if err := json.Unmarshal(text, r); err != nil {
		t.Fatal(err)
	}
	// The script is the height, then a push of twelve bytes: eight of extranonce1,
	// four of extranonce2.
	at := strings.Index(r.Coinbase, r.ScriptSig)
	if at < 0 || r.ScriptSig[6:8] != "0c" {
		t.Fatalf("no extranonce found in %s", r.ScriptSig)
	}
	at += 8
	first, _ := hex.DecodeString(r.Coinbase[:at])
	nonces, _ := hex.DecodeString(r.Coinbase[at : at+24])
	last, _ := hex.DecodeString(r.Coinbase[at+24:])
	prev, err := chain.ParseHash(r.Template.Prev)
	if err != nil {
		t.Fatal(err)
	}
	header, _ := hex.DecodeString(r.Header)
	h, err := chain.DecodeHeader(header)
	if err != nil {
		t.Fatal(err)
	}
	var others []chain.Hash
	for _, c := range r.Template.Contents {
		id, err := chain.ParseHash(c.Hash)
		if err != nil {
			t.Fatal(err)
		}
		others = append(others, id)
	}
	j := &job.Job{
		Network: "regtest", Seq: 7, Algorithm: "x11", Height: r.Template.Height, Version: r.Template.Version, Prev: prev,
		Bits: h.Bits, Time: r.Template.CurTime, MinTime: r.Template.MinTime, Coinbase1: first, Coinbase2: last,
		Extranonce2Size: 4, Branches: job.Branches(others), Clean: true,
		IssuedAt: job.MomentOf(time.Date(2026, 11, 1, 12, 0, 0, 123456000, time.UTC)),
	}
	f := &job.Found{
		Extranonce1: job.Extranonce1(nonces[:8]), Extranonce2Size: 4, Time: h.Time, Nonce: r.Nonce,
	}
	copy(f.Extranonce2[:], nonces[8:])
	return r, j, f
}

var templates = []string{"template-masternode.json", "template-temple.json"}

func TestRecordedTemplatesGiveTheRecordedHeaderAndProof(t *testing.T) {
	for _, name := range templates {
		r, j, f := load(t, name)
		if err := j.Validate(); err != nil {
			t.Fatal(err)
		}
		var a job.Assembler
		if got := hex.EncodeToString(a.Coinbase(j, f)); got != r.Coinbase {
			t.Errorf("%s: coinbase %s", name, got)
		}
		if got := hex.EncodeToString(a.Header(j, f)); got != r.Header {
			t.Errorf("%s: header\n%s, want\n%s", name, got, r.Header)
		}
		proof := a.Proof(j, f)
		if got := hex.EncodeToString(proof[:]); got != r.BlockHash {
			t.Errorf("%s: proof %s, want %s", name, got, r.BlockHash)
		}
		target, err := j.Target()
		if err != nil || !target.MetBy(proof) {
			t.Errorf("%s: the accepted block does not meet its own target (%v)", name, err)
		}
	}
}

func TestBranchesGiveTheMerkleRootOfAnyNumberOfTransactions(t *testing.T) {
	for n := 1; n <= 40; n++ {
		ids := make([]chain.Hash, n)
		for i := range ids {
			ids[i] = chain.DoubleSHA256([]byte{byte(i)})
		}
		want, _ := chain.MerkleRoot(ids)
		root := ids[0]
		for _, b := range job.Branches(ids[1:]) {
			root = chain.DoubleSHA256(append(bytes.Clone(root[:]), b[:]...))
		}
		if root != want {
			t.Errorf("%d transactions: %s, want %s", n, root, want)
		}
	}
}

func TestVersionBitsReachTheHeaderOnlyWithinTheMask(t *testing.T) {
	_, j, f := load(t, templates[0])
	var a job.Assembler
	f.VersionBits = 0xffffffff
	if h, _ := chain.DecodeHeader(a.Header(j, f)); uint32(h.Version) != j.Version {
		t.Errorf("version %08x without a mask", uint32(h.Version))
	}
	j.VersionMask = 0x1fffe000
	if h, _ := chain.DecodeHeader(a.Header(j, f)); uint32(h.Version) != j.Version|0x1fffe000 {
		t.Errorf("version %08x with a mask", uint32(h.Version))
	}
}

func TestTimeIsAllowedFromTheTemplatesMinimumToTwoHoursAhead(t *testing.T) {
	now := job.MomentOf(time.Unix(1_800_000_000, 0))
	j := &job.Job{MinTime: 1_799_999_000}
	for seconds, want := range map[int64]bool{
		1_799_998_999: false, 1_799_999_000: true, 1_800_000_000: true,
		1_800_007_140: true, 1_800_007_141: false, math.MaxUint32: false, 0: false,
	} {
		if got := j.TimeAllowed(uint32(seconds), now); got != want {
			t.Errorf("%d: %v", seconds, got)
		}
	}
}

// exact computes diff1/difficulty with big numbers.
func exact(algorithm string, difficulty float64) *big.Int {
	d1 := job.Difficulty1(algorithm)
	q := new(big.Rat).SetInt(new(big.Int).SetBytes(d1[:]))
	q.Quo(q, new(big.Rat).SetFloat64(difficulty))
	return new(big.Int).Quo(q.Num(), q.Denom())
}

func TestTargetOfADifficultyIsNeverBelowTheExactOneAndHardlyAbove(t *testing.T) {
	for _, algorithm := range []string{"x11", "scrypt", "sha256d"} {
		for d := job.MinDifficulty; d < job.MaxDifficulty; d *= 1.37 {
			b := job.BitsOf(algorithm, d)
			target := b.Target()
			got, want := new(big.Int).SetBytes(target[:]), exact(algorithm, d)
			if want.BitLen() > 255 { // moved to the largest compact target
				continue
			}
			if got.Cmp(want) < 0 {
				t.Fatalf("%s %g: target %x is below %x", algorithm, d, got, want)
			}
			slack := new(big.Int).Rsh(want, 14)
			if got.Cmp(slack.Add(slack, want).Add(slack, big.NewInt(1))) > 0 {
				t.Fatalf("%s %g: target %x is far above %x", algorithm, d, got, want)
			}
			if back := job.DifficultyOf(algorithm, target); math.Abs(back/d-1) > 1e-4 {
				t.Fatalf("%s %g comes back as %g", algorithm, d, back)
			}
		}
	}
}

func TestDifficultyOneIsTheProtocolsTarget(t *testing.T) {
	for algorithm, want := range map[string]string{
		"x11":     "00000000ffff0000000000000000000000000000000000000000000000000000",
		"sha256d": "00000000ffff0000000000000000000000000000000000000000000000000000",
		"scrypt":  "0000ffff00000000000000000000000000000000000000000000000000000000",
	} {
		if got := job.BitsOf(algorithm, 1).Target().String(); got != want {
			t.Errorf("%s: %s", algorithm, got)
		}
	}
}

func TestStrangeDifficultiesAreMovedIntoTheBounds(t *testing.T) {
	low, high := job.BitsOf("x11", job.MinDifficulty), job.BitsOf("x11", job.MaxDifficulty)
	for d, want := range map[float64]job.Bits{
		0: low, -1: low, math.Inf(-1): low, 5e-324: low, math.Inf(1): high, math.MaxFloat64: high,
	} {
		if got := job.BitsOf("x11", d); got != want {
			t.Errorf("%g: %08x", d, got)
		}
	}
	if job.BitsOf("x11", math.NaN()) != low {
		t.Error("NaN")
	}
	if w := low.Target().Weight(); w != 1 {
		t.Errorf("the lowest difficulty stands for %d hashes", w)
	}
}

func TestJobsAndSharesTravelUnchanged(t *testing.T) {
	c, err := job.NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	_, j, f := load(t, templates[1])
	b, err := c.EncodeJob(j)
	if err != nil {
		t.Fatal(err)
	}
	back, err := c.DecodeJob(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(j, back); d != "" {
		t.Error(d)
	}
	shares := []job.Share{{Job: 7, Found: *f, Target: 0x1d00ffff, Worker: 5, ReceivedAt: j.IssuedAt, Stale: true}}
	if b, err = c.EncodeShares(shares); err != nil {
		t.Fatal(err)
	}
	got, err := c.DecodeShares(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0] != shares[0] {
		t.Errorf("%+v", got)
	}
}

func TestUnsoundJobsAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(*job.Job){
		"algorithm":   func(j *job.Job) { j.Algorithm = "md5" },
		"bits":        func(j *job.Job) { j.Bits = 0 },
		"network":     func(j *job.Job) { j.Network = "" },
		"long name":   func(j *job.Job) { j.Network = strings.Repeat("n", job.MaxNetwork+1) },
		"number 0":    func(j *job.Job) { j.Seq = 0 },
		"number":      func(j *job.Job) { j.Seq = job.MaxSeq + 1 },
		"height":      func(j *job.Job) { j.Height = -1 },
		"coinbase1":   func(j *job.Job) { j.Coinbase1 = nil },
		"coinbase2":   func(j *job.Job) { j.Coinbase2 = make([]byte, job.MaxCoinbaseBytes) },
		"extranonce2": func(j *job.Job) { j.Extranonce2Size = 3 },
		"branches":    func(j *job.Job) { j.Branches = make([]chain.Hash, job.MaxBranches+1) },
		"times":       func(j *job.Job) { j.MinTime = j.Time + 1 },
	} {
		_, j, _ := load(t, templates[0])
		spoil(j)
		if err := j.Validate(); !errors.Is(err, job.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDuplicatesAreFoundOnceUnderConcurrency(t *testing.T) {
	d := job.NewDuplicates(1 << 16)
	var mu sync.Mutex
	fresh := 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			n := 0
			for i := range 1000 {
				if d.Add(&job.Found{Extranonce1: job.MakeExtranonce1(1, uint64(i%50)), Nonce: uint32(i)}) {
					n++
				}
			}
			mu.Lock()
			fresh += n
			mu.Unlock()
		})
	}
	wg.Wait()
	if fresh != 1000 || d.Len() != 1000 {
		t.Errorf("%d fresh, %d kept", fresh, d.Len())
	}
	f := &job.Found{Extranonce1: job.MakeExtranonce1(1, 0), Nonce: 0}
	d.Remove(f)
	if !d.Add(f) || d.Add(f) {
		t.Error("a share taken out can be sent once more, once")
	}
}

func TestFullDuplicateSetLetsPass(t *testing.T) {
	d := job.NewDuplicates(16)
	for i := range 100 {
		if !d.Add(&job.Found{Nonce: uint32(i)}) {
			t.Fatalf("share %d", i)
		}
	}
	if d.Len() > 16 {
		t.Errorf("%d kept", d.Len())
	}
}

func TestExtranoncesDoNotRepeatAfterARestart(t *testing.T) {
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	first := job.FirstCounter(start)
	last := first + 100_000 // sessions of the first second
	if next := job.FirstCounter(start.Add(time.Second)); next <= last {
		t.Errorf("restart begins at %d, %d was given out", next, last)
	}
	if x := job.MakeExtranonce1(513, first); x.Frontend() != 513 {
		t.Errorf("frontend %d", x.Frontend())
	}
}

func TestCheckingAllocatesNothing(t *testing.T) {
	_, j, f := load(t, templates[0])
	var a job.Assembler
	a.Proof(j, f)
	if n := testing.AllocsPerRun(50, func() {
		f.Nonce++
		if p := a.Proof(j, f); job.BitsOf("x11", 1234.5).Target().MetBy(p) {
			t.Error("a wonder")
		}
	}); n != 0 {
		t.Errorf("%v allocations per share", n)
	}
}

func TestLargestSoundJobTravels(t *testing.T) {
	c, err := job.NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	_, j, _ := load(t, templates[0])
	j.Network, j.Seq, j.Height = strings.Repeat("n", job.MaxNetwork), job.MaxSeq, math.MaxInt32
	j.Version, j.VersionMask, j.Time, j.MinTime = math.MaxUint32, math.MaxUint32, math.MaxUint32, math.MaxUint32
	j.Coinbase2 = make([]byte, job.MaxCoinbaseBytes-len(j.Coinbase1))
	j.Branches = make([]chain.Hash, job.MaxBranches)
	j.IssuedAt, j.Extranonce2Size, j.Clean, j.BindsTarget = math.MinInt64, job.MaxExtranonce2, true, true
	b, err := c.EncodeJob(j)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.DecodeJob(b); err != nil {
		t.Errorf("%d bytes: %v", len(b), err)
	}
}

func FuzzDecodeJob(f *testing.F) {
	c, err := job.NewCodec()
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range templates {
		_, j, _ := load(f, name)
		b, _ := c.EncodeJob(j)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		j, err := c.DecodeJob(b)
		if err != nil {
			if !errors.Is(err, job.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		again, err := c.EncodeJob(j)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.DecodeJob(again); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzBitsOf(f *testing.F) {
	f.Add(1.0)
	f.Add(1e-9)
	f.Add(65536.0)
	f.Add(123456.789)
	f.Fuzz(func(t *testing.T, d float64) {
		b := job.BitsOf("scrypt", d)
		if _, err := pow.TargetFromCompact(uint32(b)); err != nil {
			t.Fatalf("%g: %08x: %v", d, b, err)
		}
		if got := job.Bits(b.Target().Compact()); got != b {
			t.Fatalf("%g: %08x is not canonical, %08x is", d, b, got)
		}
	})
}

func BenchmarkJudge(b *testing.B) {
	_, j, f := load(b, templates[0])
	for _, algorithm := range []string{"sha256d", "x11"} {
		b.Run(algorithm, func(b *testing.B) {
			b.ReportAllocs()
			own := *j
			own.Algorithm = algorithm
			var a job.Assembler
			for b.Loop() {
				f.Nonce++
				if p := a.Proof(&own, f); job.BitsOf(algorithm, 1e9).Target().MetBy(p) {
					b.Fatal("a wonder")
				}
			}
		})
	}
}
