package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"purepool/internal/config"
	"purepool/internal/logging"
	"purepool/ledger"
	"purepool/pool/chain"
	"purepool/sim/daemon"
	"purepool/sim/miner"
)

type simCmd struct {
	Daemon simDaemonCmd `cmd:"" help:"Run a simulated classic coin daemon."`
	Miner  simMinerCmd  `cmd:"" help:"Run simulated classic miners against a pool."`
	Replay simReplayCmd `cmd:"" help:"Hand in the solution that a real client mined in 2018."`
	Submit simSubmitCmd `cmd:"" help:"Hand in a solution as a client would."`

	StratumMiner simStratumMinerCmd `cmd:"" help:"Run simulated Stratum miners against a port of a template network."`
	Load         simLoadCmd         `cmd:"" help:"Measure a Stratum port: connections, submits a second, latency."`
	Echo         simEchoCmd         `cmd:"" help:"Run a bare line echo, the limit of a Stratum port."`
	HTTPLoad     simHTTPLoadCmd     `cmd:"" name:"http-load" help:"Measure Action.aspx with a connection for every request."`
}

// simLog are the flags of the simulator's log.
type simLog struct {
	LogLevel string `enum:"debug,info,warn,error" default:"info" help:"Least important events logged: ${enum}."`
}

func (l simLog) logger(a *app) *slog.Logger {
	return logging.New(a.stderr, config.Log{Level: l.LogLevel, Format: "text"}).For("sim")
}

type simDaemonCmd struct {
	simLog
	Listen        string        `default:"127.0.0.1:9998" help:"Address of the RPC server."`
	AdminListen   string        `help:"Address of a second server that no fault reaches, with simfault, simmine and simreorg."`
	User          string        `default:"purepool" help:"RPC user."`
	Password      string        `default:"purepool" help:"RPC password."`
	Network       string        `enum:"main,test,regtest" default:"test" help:"Network: ${enum}."`
	PoolAddress   string        `help:"The wallet's address; made of the seed where missing."`
	BlockInterval time.Duration `default:"2m" help:"Mean time between blocks of others; 0s for none."`
	BaseHeight    int64         `default:"1000" help:"Height at which the chain begins."`
	History       int           `default:"10" help:"Blocks that are there at the start."`
	Bits          uint32        `default:"0x1f00ffff" help:"Compact target of a block."`
	Recorded      bool          `help:"Stand where the recorded solution of 2018 can be judged."`
	Maturity      int64         `default:"100" help:"Blocks that must follow a coinbase before the wallet can spend it."`
	Journal       string        `help:"File in which chain and wallet are kept over restarts."`
	Seed          uint64        `default:"1" help:"Makes what is random repeatable."`
	Fault         []string      `sep:"none" help:"A fault from the start, like slow:delay=200ms or error:permille=300; may be repeated."`
}

// Help is printed below the flags.
func (c *simDaemonCmd) Help() string {
	return `BibleHash is a stand-in (only the recorded solution gets its true answer). Faults: slow, hang, cut, garbled, refuse,
stuck, error, wrong-biblehash, wrong-recipient; after a colon method=, permille=, delay=, code=, message=.`
}

func (c *simDaemonCmd) Run(a *app) error {
	opts := daemon.Options{
		Listen: c.Listen, AdminListen: c.AdminListen, User: c.User, Password: c.Password, Network: c.Network,
		PoolAddress: c.PoolAddress, BlockInterval: c.BlockInterval, BaseHeight: c.BaseHeight, History: c.History, Bits: c.Bits,
		StandAtRecorded: c.Recorded, Maturity: c.Maturity, Journal: c.Journal, Seed: c.Seed, Logger: c.logger(a),
	}
	for _, text := range c.Fault {
		f, err := daemon.ParseFault(text)
		if err != nil {
			return err
		}
		opts.Faults = append(opts.Faults, f)
	}
	d, err := daemon.New(opts)
	if err != nil {
		return err
	}
	defer d.Close()
	fmt.Fprintf(a.stdout, "simulated daemon of network %s at %s, height %d, pool address %s\n", c.Network, d.URL(), d.Chain().Tip().Height, d.PoolAddress())
	if admin := d.AdminAddr(); admin != "" {
		fmt.Fprintf(a.stdout, "admin calls at http://%s/\n", admin)
	}
	return d.Run(a.ctx)
}

type simMinerCmd struct {
	simLog
	Pool           string        `default:"http://127.0.0.1:8080" help:"The pool's URL."`
	Daemon         string        `default:"http://127.0.0.1:9998/" help:"The simulated daemon's URL, as the miners' own node."`
	DaemonUser     string        `default:"purepool" help:"Its RPC user."`
	DaemonPassword string        `default:"purepool" help:"Its RPC password."`
	Network        string        `enum:"main,test,regtest" default:"test" help:"Network: ${enum}."`
	Miners         int           `default:"10" help:"How many."`
	Rigs           int           `default:"1" help:"How many share an address."`
	Threads        int           `default:"1" help:"Threads of each."`
	Interval       time.Duration `default:"2s" help:"Least time between two solutions of a thread; real clients wait two minutes."`
	FaultPerMille  int           `default:"0" help:"Wrong solutions, of a thousand."`
	Faults         []string      `help:"Which kinds of wrong ones; all where missing."`
	Churn          time.Duration `default:"0s" help:"Mean time after which one leaves and another joins; 0s: they stay."`
	Duration       time.Duration `default:"0s" help:"Stop after this time; 0s: when told."`
	Seed           uint64        `default:"1" help:"Makes what is random repeatable."`
}

func (c *simMinerCmd) Run(a *app) error {
	client, err := miner.NewClient(c.Pool)
	if err != nil {
		return err
	}
	fleet, err := miner.NewFleet(miner.FleetOptions{
		Miner: miner.Options{
			Client: client, Source: &miner.RPC{URL: c.Daemon, User: c.DaemonUser, Password: c.DaemonPassword},
			Network: c.Network, Threads: c.Threads, Interval: c.Interval, FaultPerMille: c.FaultPerMille, Faults: c.Faults,
			Seed: c.Seed, Logger: c.logger(a),
		},
		Miners: c.Miners, Rigs: c.Rigs, Churn: c.Churn,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(a.ctx)
	if c.Duration > 0 {
		ctx, cancel = context.WithTimeout(a.ctx, c.Duration)
	}
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- fleet.Run(ctx) }()
	ticker := time.NewTicker(5 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case err := <-ended:
			fmt.Fprintln(a.stdout, minerLine(fleet.Stats().Snapshot()))
			return err
		case <-ticker.C:
			fmt.Fprintln(a.stdout, minerLine(fleet.Stats().Snapshot()))
		}
	}
}

func minerLine(s miner.Snapshot) string {
	return fmt.Sprintf("miners=%d work=%d sent=%d ok=%d faulty=%d unexpected=%d blocks=%d refused=%v failed=%v",
		s.Miners, s.WorkGiven, s.Sent, s.OK, s.FaultySent, s.Unexpected, s.Blocks, s.Refused, s.Failed)
}

type simReplayCmd struct {
	configFlag
	Pool   string `default:"http://127.0.0.1:8080" help:"The pool's URL."`
	Import bool   `help:"First write the recording's miner and work into the ledger of the configuration; otherwise the pool does not know its work."`
}

// Help is printed below the flags.
func (c *simReplayCmd) Help() string {
	return `The share is credited where the pool serves the network test with the recording's pool address, an easy enough
hash_target and easiest_hash_target, and a daemon started with: purepool sim daemon --recorded`
}

func (c *simReplayCmd) Run(a *app) error {
	client, err := miner.NewClient(c.Pool)
	if err != nil {
		return err
	}
	if c.Import {
		if err := c.withLedger(a, func(store *ledger.BackendStore) error { return importRecorded(a.ctx, store) }); err != nil {
			return err
		}
	}
	answer, err := miner.Replay(a.ctx, client)
	if err != nil {
		return err
	}
	if answer.Error != "" {
		return fmt.Errorf("the pool says: %s", oneLine(answer.Error, 200))
	}
	fmt.Fprintln(a.stdout, "the pool says: ok")
	return nil
}

// importRecorded writes down the miner and the work of the recording, as its
// pool had them in 2018, with a target that its proof meets.
func importRecorded(ctx context.Context, store *ledger.BackendStore) error {
	ids, err := store.Networks(ctx)
	if err != nil {
		return err
	}
	id, ok := ids["test"]
	if !ok {
		return errors.New("the ledger knows no network test: add [network.test] and run purepool migrate")
	}
	recorded := daemon.Recorded()
	guid, err := uuid.Parse(recorded.MinerGUID())
	if err != nil {
		return err
	}
	work, err := uuid.Parse(recorded.WorkID())
	if err != nil {
		return err
	}
	// Nobody knows who it was: any address of the test net will do.
	address := chain.NewAddress(chain.PubKeyHash, guidHash(guid), chain.BiblePayTest()).String()
	var target [32]byte
	for i := 2; i < len(target); i++ {
		target[i] = 0xff
	}
	return store.ImportWork(ctx, address, guid, "Default", ledger.Work{ID: work, NetworkID: id, HashTarget: target, IssuedAt: time.Now()})
}

func guidHash(guid uuid.UUID) (h [20]byte) {
	copy(h[:], guid[:])
	return h
}
