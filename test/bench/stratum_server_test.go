package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"purepool/ledger"
	"purepool/pool"
	"purepool/pool/chain"
	"purepool/pool/job"
	"purepool/pool/queue"
	"purepool/pool/tip"
	"purepool/pool/validate"
	"purepool/pool/vardiff"
	"purepool/stratum"

	sim "purepool/sim/stratum"
)

// The Stratum port that is measured: the wire, the front desk with its workers in
// Postgres, the embedded broker with its fsync before every acknowledgement, and
// jobs that come by that broker and bind their shares' targets. With envJudge the
// validators judge what is in the queue meanwhile.
//
// It prints its address and then answers commands: "job" tells a new job, "bare"
// writes the bytes of one to the same sockets in a bare loop (after "prepare", which
// prints how many there are), "rss" prints its resident memory.

const stratumNetwork = "test"

// lowest is a difficulty that all but one of 65,536 hashes meet.
const lowest = 1e-12

// port is the measured process from within.
type port struct {
	broker *queue.Broker
	codec  *job.Codec
	server *stratum.Server

	mu   sync.Mutex
	last *job.Job
	jobs map[uint64]*job.Job
}

func serveEcho(ctx context.Context) error {
	e, err := sim.NewEcho(ctx, "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(e.Addr())
	return e.Run(ctx)
}

func serveStratum(ctx context.Context) (err error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	algorithm := os.Getenv(envAlgorithm)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	store, err := ledger.OpenFrontend(ctx, os.Getenv(envDSN), ledger.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	ids, err := store.Networks(ctx)
	if err != nil {
		return err
	}
	broker, err := queue.Open(ctx, queue.Config{URL: "embedded:" + os.Getenv(envQueue), Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	if err := errors.Join(broker.Provision(ctx, stratumNetwork), broker.ProvisionTemplate(ctx, stratumNetwork)); err != nil {
		return err
	}
	publisher, err := queue.NewPublisher(broker, queue.PublisherConfig{Networks: []string{stratumNetwork}})
	if err != nil {
		return err
	}
	desk, err := pool.NewTemplateDesk(pool.TemplateConfig{
		Frontend: "bench", Logger: log,
		Network: pool.TemplateNetwork{Name: stratumNetwork, ID: ids[stratumNetwork], Chain: chain.BiblePayTest(), Algorithm: algorithm},
	}, store, publisher, broker)
	if err != nil {
		return err
	}
	defer desk.Close()
	codec, err := job.NewCodec()
	if err != nil {
		return err
	}
	p := &port{broker: broker, codec: codec, jobs: make(map[uint64]*job.Job)}
	if p.server, err = stratum.New(stratum.Config{
		Logger: log, DrainTime: time.Millisecond,
		Networks: []stratum.Network{{
			Name: stratumNetwork, Chain: chain.BiblePayTest(), Algorithm: algorithm, Jobs: desk, Sink: desk, Door: door{desk},
		}},
		Ports: []stratum.Port{{
			Name: "p", Address: "127.0.0.1:0", Network: stratumNetwork, Dialect: stratum.Template,
			StartDifficulty: lowest, Vardiff: vardiff.Config{Min: lowest, Max: 1e12},
		}},
		Limits: stratum.Limits{
			Connections: 1 << 20, PerIP: 1 << 20, PerIPRate: 1e6, AcceptRate: 1e6, AuthTimeout: time.Hour, IdleTimeout: time.Hour,
			JudgedShares: 1 << 30, JunkPerIP: 1 << 30,
		},
	}); err != nil {
		return err
	}
	var all sync.WaitGroup
	defer all.Wait()
	publishing, stopPublishing := context.WithCancel(context.Background())
	defer stopPublishing()
	run := func(f func(context.Context) error) {
		all.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		})
	}
	all.Go(func() { _ = publisher.Run(publishing) })
	run(desk.Run)
	run(func(ctx context.Context) error { return p.tellAgain(ctx) })
	if os.Getenv(envJudge) != "" {
		if err := p.judge(run, ids[stratumNetwork], algorithm); err != nil {
			return err
		}
	}
	for desk.Ready(ctx) != nil {
		if err := p.newJob(algorithm); err != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = p.server.Run(ctx) })
	fmt.Println(p.server.Addr("p"))
	err = p.obey(ctx, algorithm)
	stop()
	serving.Wait()
	return err
}

type door struct{ desk *pool.TemplateDesk }

func (d door) Admit(ctx context.Context, a stratum.Arrival) (stratum.Admission, error) {
	id, err := d.desk.Admit(ctx, pool.TemplateArrival{Address: a.Address, Worker: a.Worker, RemoteIP: a.RemoteIP})
	return stratum.Admission{Worker: id}, err
}

// newJob tells a job whose target nothing meets, with the coinbase and branches of
// a block of some hundred transactions.
func (p *port) newJob(algorithm string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	seq := uint64(now.UnixMicro())
	j := &job.Job{
		Network: stratumNetwork, Seq: seq, Algorithm: algorithm, Height: 100, Version: 0x20000000, Prev: chain.DoubleSHA256(fmt.Append(nil, seq)),
		Bits: 0x03000001, Time: uint32(now.Unix()), MinTime: uint32(now.Unix() - 3600), Coinbase1: make([]byte, 60), Coinbase2: make([]byte, 250),
		Extranonce2Size: 4, Branches: make([]chain.Hash, 7), Clean: true, IssuedAt: job.MomentOf(now), BindsTarget: true,
	}
	p.last, p.jobs[seq] = j, j
	return p.tell()
}

func (p *port) tell() error {
	body, err := p.codec.EncodeJob(p.last)
	if err != nil {
		return err
	}
	return p.broker.TellJob(context.Background(), stratumNetwork, body)
}

// tellAgain does what the backend does, so that the front desk does not believe
// it gone.
func (p *port) tellAgain(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			p.mu.Lock()
			err := p.tell()
			p.mu.Unlock()
			if err != nil {
				return err
			}
		}
	}
}

// judge runs the validators, as the backend does.
func (p *port) judge(run func(func(context.Context) error), id int16, algorithm string) error {
	store, err := ledger.OpenBackend(context.Background(), os.Getenv(envJudge), ledger.Options{})
	if err != nil {
		return err
	}
	if err := store.EnsurePartitions(context.Background(), time.Now(), map[int16]int32{id: 100}); err != nil {
		return err
	}
	v, err := validate.NewTemplate(validate.TemplateConfig{Config: validate.Config{
		Network: stratumNetwork, NetworkID: id, Rules: validate.Rules{EasiestTarget: job.BitsOf(algorithm, job.MinDifficulty).Target()},
	}}, store, p, p, still{}, p.broker.DeadLetters())
	if err != nil {
		return err
	}
	run(func(ctx context.Context) error {
		deliveries, err := queue.Subscribe(ctx, p.broker, stratumNetwork, queue.SubscribeConfig{InFlight: 128}) // as the backend
		if err != nil {
			return err
		}
		return v.Run(ctx, deliveries)
	})
	return nil
}

// Job implements validate.Jobs.
func (p *port) Job(_ context.Context, seq uint64) (*job.Job, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	j := p.jobs[seq]
	return j, j == nil, nil
}

// Win implements validate.Wins.
func (*port) Win(context.Context, *job.Share) error {
	return errors.New("no share makes a block here")
}

// still is a chain whose tip is that of every job.
type still struct{}

func (still) Judge(_ context.Context, block [32]byte, _ int32, at time.Time) (tip.Tip, tip.Standing, error) {
	return tip.Tip{Height: 99, Hash: block, BlockTime: at}, tip.Current, nil
}

func (still) HeightReigned(int32, time.Time) bool { return true }

func (still) MaxNonce(tip.Tip, time.Time) uint32 { return 1<<32 - 1 }

// obey follows commands until standard input ends.
func (p *port) obey(ctx context.Context, algorithm string) error {
	commands := make(chan string)
	go func() { // ends with the process
		defer close(commands)
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			commands <- in.Text()
		}
	}()
	var bare *bareLoop
	for {
		var command string
		var more bool
		select {
		case <-ctx.Done():
			return nil
		case command, more = <-commands:
		}
		var err error
		switch command {
		case "":
			if !more {
				return nil
			}
		case "job":
			err = p.newJob(algorithm)
		case "prepare":
			if bare, err = newBareLoop(p.server.Addr("p")); err == nil {
				fmt.Println(len(bare.files))
			}
		case "bare":
			bare.write()
		case "rss":
			runtime.GC()
			debug.FreeOSMemory()
			var n int64
			if n, err = resident(os.Getpid(), "VmRSS"); err == nil {
				fmt.Println(n)
			}
		default:
			err = fmt.Errorf("unknown command %q", command)
		}
		if err != nil {
			return err
		}
	}
}

// bareLoop is the limit of a broadcast: the same bytes to the same sockets, by as
// many goroutines as there are processors, which do nothing else.
type bareLoop struct {
	files []int
	line  []byte
}

// newBareLoop finds the sockets of the server's connections among the files of
// this process, and asks the server for the line of its last job.
func newBareLoop(at net.Addr) (*bareLoop, error) {
	l := new(bareLoop)
	var err error
	if l.line, err = lastNotify(at.String()); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		var fd int
		if _, err := fmt.Sscan(e.Name(), &fd); err != nil {
			return nil, err
		}
		local, err := syscall.Getsockname(fd)
		if err != nil {
			continue // no socket
		}
		if _, err := syscall.Getpeername(fd); err != nil {
			continue // it listens
		}
		if in, ok := local.(*syscall.SockaddrInet4); ok && in.Port == at.(*net.TCPAddr).Port {
			l.files = append(l.files, fd)
		}
	}
	return l, nil
}

// lastNotify logs in and returns the job's line.
func lastNotify(at string) ([]byte, error) {
	conn, err := net.Dial("tcp", at)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, `{"id":1,"method":"mining.subscribe","params":[]}`+"\n"+
		`{"id":2,"method":"mining.authorize","params":["%s.bare","x"]}`+"\n", poolAddress); err != nil {
		return nil, err
	}
	lines := bufio.NewReaderSize(conn, 1<<16)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		if strings.Contains(string(line), "mining.notify\",\"params\":[\"") {
			return append([]byte(nil), line...), nil
		}
	}
}

func (l *bareLoop) write() {
	var all sync.WaitGroup
	procs := runtime.GOMAXPROCS(0)
	for i := range procs {
		all.Go(func() {
			for k := i; k < len(l.files); k += procs {
				_, _ = syscall.Write(l.files[k], l.line) // a connection that has ended is missed by its client
			}
		})
	}
	all.Wait()
}
