package bench

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"purepool/ledger"
	"purepool/ledger/pgcluster"
	"purepool/pool/chain"
	"purepool/pool/pow"
	"purepool/pool/queue"
	"purepool/pool/solution"
	"purepool/pool/tip"
	"purepool/pool/validate"
	"purepool/sim/daemon"
	"purepool/sim/miner"
)

const (
	batches   = 24
	batchSize = 1000
	writers   = 4 // as many as the validator has by default
)

// BenchmarkValidate judges shares of honest miners: parsing, decoding the block,
// merkle root, X11, the ledger's transaction with its roll-ups. The daemon answers
// in the same process and at once. The limit is a bare COPY of the same rows, from
// as many connections, which judges nothing.
func BenchmarkValidate(b *testing.B) {
	cluster := startPostgres(b)
	ctx := b.Context()
	store, err := ledger.OpenBackend(ctx, cluster.DSN(ledger.RoleBackend, "purepool"), ledger.Options{})
	must(b, err)
	defer store.Close()
	ids, err := store.Networks(ctx)
	must(b, err)
	network := ids["test"]
	db, err := sql.Open("postgres", cluster.DSN(pgcluster.Superuser, "purepool")+" search_path=purepool")
	must(b, err)
	defer db.Close()

	sim, err := daemon.New(daemon.Options{Network: "test", PoolAddress: poolAddress, BaseHeight: 1000, History: 2, Bits: 0x1d00ffff})
	must(b, err)
	defer sim.Close()
	must(b, store.EnsurePartitions(ctx, time.Now(), map[int16]int32{network: int32(sim.Chain().Tip().Height)}))
	m := newMine(b, store, network, sim.Chain())
	v, err := validate.New(validate.Config{
		Network: "test", NetworkID: network,
		Rules: validate.Rules{Chain: chain.BiblePayTest(), PoolAddress: poolAddress, EasiestTarget: m.target},
	}, store, instant{}, present{sim.Chain()}, nil)
	must(b, err)

	var judged, copied []float64
	for b.Loop() {
		for range rounds {
			judged = append(judged, rate(m.mine(), func(shares []*queue.Share) { must(b, v.Judge(ctx, shares)) }))
			copied = append(copied, rate(m.mine(), func(shares []*queue.Share) { must(b, bareCopy(ctx, db, network, shares)) }))
		}
	}
	var rejected int64
	must(b, db.QueryRowContext(ctx, `SELECT count(*) FROM rejected_share`).Scan(&rejected))
	if rejected > 0 {
		b.Fatalf("%d honest shares rejected", rejected)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(middle(judged), "shares/s")
	b.ReportMetric(middle(copied), "bare-copy/s")
	b.ReportMetric(100*middle(judged)/middle(copied), "%-of-bare")
}

// rate hands the batches to as many writers as there are and returns shares a
// second.
func rate(all [][]*queue.Share, handle func([]*queue.Share)) float64 {
	next := make(chan []*queue.Share, len(all))
	for _, batch := range all {
		next <- batch
	}
	close(next)
	began := time.Now()
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for batch := range next {
				handle(batch)
			}
		})
	}
	wg.Wait()
	return float64(batches*batchSize) / time.Since(began).Seconds()
}

func middle(rates []float64) float64 {
	slices.Sort(rates)
	return rates[len(rates)/2]
}

// mine makes honest shares of twenty workers.
type mine struct {
	b       *testing.B
	chain   *daemon.Chain
	target  pow.Target
	works   []miner.Work
	diggers []*miner.Digger
}

func newMine(b *testing.B, store *ledger.BackendStore, network int16, c *daemon.Chain) *mine {
	m := &mine{b: b, chain: c}
	for i := range m.target {
		m.target[i] = 0xff
	}
	pool, err := chain.DecodeAddress(poolAddress, chain.BiblePayTest())
	must(b, err)
	rng := rand.New(rand.NewPCG(2018, 2))
	for range 20 {
		text := miner.RandomAddress(rng, chain.BiblePayTest())
		address, err := chain.DecodeAddress(text, chain.BiblePayTest())
		must(b, err)
		guid, work := uuid.New(), uuid.New()
		must(b, store.ImportWork(b.Context(), text, guid, "rig", ledger.Work{
			ID: work, NetworkID: network, HashTarget: m.target, IssuedAt: time.Now(),
		}))
		m.works = append(m.works, miner.Work{PoolAddress: pool, Target: m.target, MinerGUID: guid.String(), WorkID: work.String()})
		m.diggers = append(m.diggers, miner.NewDigger(
			miner.Identity{Address: address, CPID: strings.Repeat("1", 32), Version: "1.1.3.8"}, rand.New(rand.NewPCG(rng.Uint64(), 1))))
	}
	return m
}

func (m *mine) mine() [][]*queue.Share {
	all := make([][]*queue.Share, batches)
	for i := range all {
		for n := range batchSize {
			who := n % len(m.works)
			s, err := m.diggers[who].Find(context.Background(), miner.InProcess(m.chain), &m.works[who])
			must(m.b, err)
			id, err := uuid.NewV7()
			must(m.b, err)
			all[i] = append(all[i], &queue.Share{
				ID: id, ReceivedAt: time.Now().UTC().Truncate(time.Microsecond), Frontend: "bench", Solution: []byte(s.String()),
				WorkID: uuid.MustParse(m.works[who].WorkID), MinerID: uuid.MustParse(m.works[who].MinerGUID),
			})
		}
	}
	return all
}

// bareCopy copies the rows of shares and of their solutions, and does nothing else.
func bareCopy(ctx context.Context, db *sql.DB, network int16, shares []*queue.Share) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	rows, err := tx.PrepareContext(ctx, `COPY share (received_at, judged_at, worker_id, miner_id, weight, hashes_per_second,
		height, network_id, id, work_id, proof) FROM STDIN`)
	if err != nil {
		return err
	}
	for _, s := range shares {
		parsed, err := solution.Parse(s.Solution)
		if err != nil {
			return err
		}
		if _, err := rows.ExecContext(ctx, s.ReceivedAt, s.ReceivedAt, 1, 1, 1, parsed.HashesPerSecond(),
			parsed.PrevHeight, network, s.ID.String(), s.WorkID.String(), parsed.BibleHash[:]); err != nil {
			return err
		}
	}
	if _, err := rows.ExecContext(ctx); err != nil {
		return err
	}
	texts, err := tx.PrepareContext(ctx, `COPY share_solution (received_at, share_id, solution) FROM STDIN`)
	if err != nil {
		return err
	}
	for _, s := range shares {
		if _, err := texts.ExecContext(ctx, s.ReceivedAt, s.ID.String(), s.Solution); err != nil {
			return err
		}
	}
	if _, err := texts.ExecContext(ctx); err != nil {
		return err
	}
	return tx.Commit()
}

// instant is a daemon that answers at once.
type instant struct{}

func (instant) Examine(_ context.Context, questions []validate.Question) ([]validate.Answer, error) {
	yes := true
	answers := make([]validate.Answer, len(questions))
	for i, q := range questions {
		answers[i] = validate.Answer{
			BibleHash: daemon.BibleHash(daemon.HashInput{
				BlockHash: q.BlockHash, BlockTime: int64(q.BlockTime), PrevBlockTime: int64(q.PrevBlockTime),
				PrevHeight: int64(q.PrevHeight), Nonce: q.Nonce,
			}),
			HasBibleHash: true, Recipient: poolAddress, CPIDSigValid: &yes, CPIDLegal: &yes,
		}
	}
	return answers, nil
}

// present is a chain that stands still.
type present struct{ chain *daemon.Chain }

func (p present) Judge(_ context.Context, block [32]byte, _ int32, _ time.Time) (tip.Tip, tip.Standing, error) {
	t := p.chain.Tip()
	if t.Hash.Display() != block {
		return tip.Tip{}, tip.Unknown, nil
	}
	return tip.Tip{Height: int32(t.Height), Hash: block, BlockTime: time.Unix(int64(t.Header.Time), 0)}, tip.Current, nil
}

func (present) HeightReigned(int32, time.Time) bool { return false }

func (present) MaxNonce(tip.Tip, time.Time) uint32 { return 1<<32 - 1 }
