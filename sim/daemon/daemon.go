package daemon

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"purepool/pool/chain"
)

// Daemon is a simulated daemon: a chain, a wallet, and two servers that tell of
// them. All its methods are safe for concurrent use.
type Daemon struct {
	opts    Options
	network chain.Network
	chain   *Chain
	wallet  *wallet
	secret  [32]byte // digest of user:password
	log     *slog.Logger

	exchanges sync.Pool
	started   time.Time

	switching sync.Mutex // one change of the faults at a time
	current   atomic.Pointer[faults]
	rpc       port
	admin     *port // nil where there is none
	running   bool  // protected by switching
	up        chan struct{}
}

// New makes a daemon and takes its addresses; it answers once it runs. A daemon
// that is not run must be closed.
func New(opts Options) (*Daemon, error) {
	opts, network, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if opts.PoolAddress == "" {
		opts.PoolAddress = poolAddress(opts.Seed, network)
	}
	var kept *journal
	var events []event
	if opts.Journal != "" {
		if kept, events, err = openJournal(opts.Journal, opts.Logger); err != nil {
			return nil, err
		}
	}
	c, err := newChain(opts, network, kept, events)
	if err != nil {
		kept.close()
		return nil, err
	}
	w, err := newWallet(opts, network, c, events)
	if err != nil {
		kept.close()
		return nil, err
	}
	d := &Daemon{
		opts: opts, network: network, chain: c, wallet: w, log: opts.Logger,
		secret:    sha256.Sum256([]byte(opts.User + ":" + opts.Password)),
		exchanges: sync.Pool{New: func() any { return new(exchange) }},
		started:   time.Now(), up: make(chan struct{}),
	}
	d.current.Store(newFaults(opts.Seed, nil))
	d.rpc = port{address: opts.Listen, handler: &rpcHandler{d: d}}
	if err := d.rpc.bind(); err != nil {
		kept.close()
		return nil, err
	}
	if opts.AdminListen != "" {
		d.admin = &port{address: opts.AdminListen, handler: &rpcHandler{d: d, admin: true}}
		if err := d.admin.bind(); err != nil {
			d.rpc.end()
			kept.close()
			return nil, err
		}
	}
	if err := d.SetFaults(opts.Faults...); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Start makes a daemon and runs it until stop is called, which waits for its end.
// When Start returns, the daemon answers.
func Start(opts Options) (d *Daemon, stop func(), err error) {
	d, err = New(opts)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(done)
		failed <- d.Run(ctx)
	}()
	select {
	case <-d.up:
		return d, func() { cancel(); <-done }, nil
	case err := <-failed:
		cancel()
		return nil, nil, err
	}
}

// Run serves the daemon's calls and lets strangers find blocks until ctx is done.
// The error is not nil where a port could not be served. A daemon runs once.
func (d *Daemon) Run(ctx context.Context) error {
	defer d.Close()
	d.switching.Lock()
	d.running = true
	err := d.applyPorts()
	d.switching.Unlock()
	if err != nil {
		return err
	}
	close(d.up)
	d.log.Info("simulated daemon runs",
		slog.String("address", d.Addr()), slog.String("network", d.opts.Network), slog.Int64("height", d.chain.Tip().Height))
	d.strangersMine(ctx)
	return nil
}

// Close gives the daemon's addresses back and cuts its connections.
func (d *Daemon) Close() {
	d.switching.Lock()
	d.running = false
	d.replaceFaults(nil) // lets go of who hangs
	d.switching.Unlock() // a call under way may be waiting for it
	d.rpc.end()
	if d.admin != nil {
		d.admin.end()
	}
	d.chain.journal.close()
}

// strangersMine adds a block at every interval, half as long to half as long
// again, until ctx is done.
func (d *Daemon) strangersMine(ctx context.Context) {
	interval := d.opts.BlockInterval
	if interval == 0 {
		<-ctx.Done()
		return
	}
	rng := rand.New(rand.NewPCG(d.opts.Seed, 0x696e74657276616c)) //nolint:gosec // a simulation must be repeatable
	for {
		timer := time.NewTimer(interval/2 + time.Duration(rng.Int64N(int64(interval))))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if b := d.chain.MineStranger(); b != nil {
			d.log.Debug("a stranger found a block", slog.Int64("height", b.Height), slog.String("hash", b.Hash.String()))
		}
	}
}

// Chain returns the daemon's chain.
func (d *Daemon) Chain() *Chain { return d.chain }

// MineStranger lets a stranger find a block now; nil while the chain is stuck.
func (d *Daemon) MineStranger() *Block { return d.chain.MineStranger() }

// Addr returns the address of the RPC server, host:port.
func (d *Daemon) Addr() string { return d.rpc.addr() }

// AdminAddr returns the address on which no fault acts, empty where there is none.
func (d *Daemon) AdminAddr() string {
	if d.admin == nil {
		return ""
	}
	return d.admin.addr()
}

// URL returns the RPC server's URL, without the user.
func (d *Daemon) URL() string { return "http://" + d.Addr() + "/" }

// PoolAddress returns the address of the daemon's wallet, to which a pool's
// blocks must pay.
func (d *Daemon) PoolAddress() string { return d.opts.PoolAddress }

// Credentials returns the user and password of the RPC server.
func (d *Daemon) Credentials() (user, password string) { return d.opts.User, d.opts.Password }

// SetFaults switches these faults on and all others off. When it returns, the port
// is shut or open as they say.
func (d *Daemon) SetFaults(list ...Fault) error {
	var errs []error
	for i := range list {
		errs = append(errs, list[i].check())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	d.switching.Lock()
	defer d.switching.Unlock()
	d.replaceFaults(list)
	d.chain.Freeze(d.faultSet().has(FaultStuck))
	return d.applyPorts()
}

// Faults returns what is switched on.
func (d *Daemon) Faults() []Fault { return slices.Clone(d.faultSet().list) }

func (d *Daemon) faultSet() *faults { return d.current.Load() }

// replaceFaults needs the lock.
func (d *Daemon) replaceFaults(list []Fault) {
	close(d.current.Swap(newFaults(d.opts.Seed, list)).over)
}

// applyPorts opens and shuts the ports. It needs the lock.
func (d *Daemon) applyPorts() error {
	if d.faultSet().has(FaultRefuse) {
		d.rpc.shut()
	} else if d.running {
		if err := d.rpc.open(); err != nil {
			return err
		}
	}
	if d.admin != nil && d.running {
		return d.admin.open()
	}
	return nil
}

// poolAddress makes the wallet's address of the seed.
func poolAddress(seed uint64, network chain.Network) string {
	rng := rand.New(rand.NewPCG(seed, 0x706f6f6c)) //nolint:gosec // a simulation must be repeatable
	var hash [20]byte
	for i := range hash {
		hash[i] = byte(rng.Uint32())
	}
	return chain.NewAddress(chain.PubKeyHash, hash, network).String()
}
