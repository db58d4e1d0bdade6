package template_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"purepool/bbprpc"
	"purepool/ledger/ledgertest"
	"purepool/pool"
	"purepool/pool/chain"
	"purepool/pool/job"
	"purepool/pool/jobs"
	"purepool/pool/queue"
	"purepool/pool/vardiff"
	"purepool/stratum"
)

// doorman is a daemon that always has the same template and takes every block at
// once: what is left is the pool's own time.
type doorman struct {
	*httptest.Server
	arrived chan time.Time
}

func newDoorman(tb testing.TB) *doorman {
	d := &doorman{arrived: make(chan time.Time, 1)}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		now := time.Now()
		var call struct {
			Method string
			Params []json.RawMessage
		}
		_ = json.Unmarshal(body, &call)
		result := "null"
		switch call.Method {
		case "submitblock":
			d.arrived <- now
		case "getblockchaininfo":
			result = `{"blocks":1,"headers":1,"bestblockhash":"` + strings.Repeat("0", 63) + `1"}`
		case "getblockcount":
			result = "1"
		case "getblocktemplate":
			if strings.Contains(string(body), `"longpollid"`) {
				<-r.Context().Done()
				return
			}
			result = `{"version":4,"previousblockhash":"` + strings.Repeat("0", 63) + `1","transactions":[],"coinbasevalue":5000000000,` +
				fmt.Sprintf(`"longpollid":"x","mintime":1,"curtime":%d,"bits":"207fffff","height":2}`, now.Unix())
		}
		fmt.Fprintf(w, `{"result":%s,"error":null,"id":0}`, result)
	}))
	tb.Cleanup(func() { d.CloseClientConnections(); d.Close() })
	return d
}

// BenchmarkLineToSubmitblock measures from the miner's line on a Stratum port,
// through the hashing, a broker that fsyncs, the backend and its journal, to
// submitblock at the daemon, all on loopback.
func BenchmarkLineToSubmitblock(b *testing.B) {
	quiet := slog.New(slog.DiscardHandler)
	daemon := newDoorman(b)
	db := ledgertest.New(b)
	store := db.Backend()
	ids, err := store.Networks(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	dir := b.TempDir()
	broker, err := queue.Open(b.Context(), queue.Config{URL: "embedded:" + filepath.Join(dir, "queue"), Logger: quiet})
	check(err)
	check(broker.Provision(b.Context(), network))
	check(broker.ProvisionTemplate(b.Context(), network))
	client, err := bbprpc.New(bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: daemon.URL}}})
	check(err)
	keeper, err := jobs.NewKeeper(network, ids[network], store, filepath.Join(dir, "jobs"), quiet)
	check(err)
	maker, err := jobs.NewMaker(jobs.Config{Plan: jobs.Plan{
		Network: network, Algorithm: "sha256d", Chain: chain.LitecoinRegtest(), PoolAddress: minerAddress, BindTargets: true,
	}, Logger: quiet, Refresh: time.Hour}, []jobs.Daemon{client.Daemons()[0]}, keeper, broker, jobs.LeadOf(store, ids[network]))
	check(err)
	submitter, err := jobs.NewSubmitter(jobs.SubmitConfig{Network: network, NetworkID: ids[network], Dir: dir, Logger: quiet}, keeper, client, store)
	check(err)
	publisher, err := queue.NewPublisher(broker, queue.PublisherConfig{Networks: []string{network}})
	check(err)
	desk, err := pool.NewTemplateDesk(pool.TemplateConfig{
		Frontend: "f", Logger: quiet,
		Network: pool.TemplateNetwork{Name: network, ID: ids[network], Chain: chain.LitecoinRegtest(), Algorithm: "sha256d"},
	}, db.Frontend(), publisher, broker)
	check(err)
	server, err := stratum.New(stratum.Config{
		Logger: quiet, DrainTime: time.Millisecond,
		Networks: []stratum.Network{{Name: network, Chain: chain.LitecoinRegtest(), Algorithm: "sha256d", Jobs: desk, Sink: desk, Door: door{desk}}},
		Ports:    []stratum.Port{{Name: "p", Address: "127.0.0.1:0", Network: network, Dialect: stratum.Template, StartDifficulty: 1e-9, Vardiff: vardiff.Config{Min: 1e-9, Max: 1}}},
	})
	check(err)
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{
		maker.Run, keeper.Run, publisher.Run, desk.Run, server.Run,
		func(ctx context.Context) error { return broker.ConsumeBlocks(ctx, network, submitter.Message) },
	} {
		wg.Go(func() { _ = run(ctx) })
	}
	defer func() {
		stop()
		wg.Wait()
		desk.Close()
		_ = submitter.Close()
		client.Close()
		_ = broker.Close()
	}()
	for desk.Ready(b.Context()) != nil {
		time.Sleep(time.Millisecond)
	}
	c := newWinner(b, server.Addr("p").String())
	var took []time.Duration
	for b.Loop() {
		sent := c.submit()
		took = append(took, (<-daemon.arrived).Sub(sent))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-p50")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms-p99")
}

// winner is a miner that submits nothing but blocks.
type winner struct {
	tb   testing.TB
	conn net.Conn
	job  *job.Job
	key  string
	f    job.Found
	a    job.Assembler
	// session is the id by which the pool knows its session.
	session string
	answers chan string // to its shares
	message chan string // that it was shown
	ended   chan struct{}
}

func newWinner(tb testing.TB, addr string) *winner { return newWinnerAs(tb, addr, "sha256d", "") }

// newWinnerAs comes back with the id of an earlier session.
func newWinnerAs(tb testing.TB, addr, algorithm, session string) *winner {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, `{"id":1,"method":"mining.subscribe","params":["winner",%q]}`+"\n"+`{"id":2,"method":"mining.authorize","params":["%s.x","d=1e-9"]}`+"\n", session, minerAddress)
	w := &winner{tb: tb, conn: conn, answers: make(chan string, 100), message: make(chan string, 1), ended: make(chan struct{})}
	lines := bufio.NewScanner(conn)
	unhex := func(v any) []byte {
		raw, _ := hex.DecodeString(v.(string))
		return raw
	}
	for w.job == nil && lines.Scan() {
		var m struct {
			ID     *int
			Method string
			Params []any
			Result []any
		}
		_ = json.Unmarshal(lines.Bytes(), &m)
		if m.ID != nil && *m.ID == 1 {
			copy(w.f.Extranonce1[:], unhex(m.Result[1]))
			w.session = m.Result[0].([]any)[1].([]any)[1].(string)
		}
		if m.Method != "mining.notify" {
			continue
		}
		w.key = m.Params[0].(string)
		w.job = &job.Job{Algorithm: algorithm, Coinbase1: unhex(m.Params[2]), Coinbase2: unhex(m.Params[3]), Bits: 0x207fffff}
		prev := unhex(m.Params[1])
		for i := range prev {
			w.job.Prev[i] = prev[i/4*4+3-i%4]
		}
		for _, branch := range m.Params[4].([]any) {
			w.job.Branches = append(w.job.Branches, chain.Hash(unhex(branch)))
		}
		fmt.Sscanf(m.Params[5].(string), "%08x", &w.job.Version)
		fmt.Sscanf(m.Params[7].(string), "%08x", &w.f.Time)
	}
	w.f.Extranonce2Size = 4
	go func() {
		defer close(w.ended)
		for lines.Scan() {
			to := w.answers
			switch {
			case bytes.Contains(lines.Bytes(), []byte(`"client.show_message"`)):
				to = w.message
			case !bytes.Contains(lines.Bytes(), []byte(`"id":3,`)):
				continue
			}
			select {
			case to <- lines.Text():
			default: // nobody asks
			}
		}
	}()
	return w
}

// find searches a share that makes a block, or one that makes none.
func (w *winner) find(wins bool) (line []byte) {
	target, err := w.job.Target()
	if err != nil {
		w.tb.Fatal(err)
	}
	for w.f.Nonce++; target.MetBy(w.a.Proof(w.job, &w.f)) != wins; w.f.Nonce++ {
	}
	return fmt.Appendf(nil, `{"id":3,"method":"mining.submit","params":["%s.x","%s","00000000","%08x","%08x"]}`+"\n", minerAddress, w.key, w.f.Time, w.f.Nonce)
}

// submit finds a block and sends it.
func (w *winner) submit() time.Time {
	line := w.find(true)
	sent := time.Now()
	if _, err := w.conn.Write(line); err != nil {
		w.tb.Fatal(err)
	}
	return sent
}
