package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"purepool/sim/load"
	"purepool/sim/miner"
	"purepool/sim/stratum"
)

type simStratumMinerCmd struct {
	simLog
	Pool        string        `default:"127.0.0.1:3333" help:"The port's host and port."`
	Worker      string        `required:"" help:"ADDRESS.name; a connection's number is put behind it."`
	Password    string        `default:"x" help:"May hold d= (difficulty) and md= (least difficulty)."`
	Algorithm   string        `enum:"x11,scrypt,sha256d" default:"x11" help:"Hash function: ${enum}."`
	Connections int           `default:"1" help:"How many machines."`
	HashRate    float64       `default:"0" help:"Hashes per second of each; 0: as fast as it can."`
	Fault       string        `help:"What every machine does wrong: ${stratumfaults}."`
	Duration    time.Duration `default:"0s" help:"Stop after this time; 0s: when told."`
}

func (c *simStratumMinerCmd) Run(a *app) error {
	m, err := stratum.NewMiner(stratum.Options{
		Pool: c.Pool, Worker: c.Worker, Password: c.Password, Algorithm: c.Algorithm, Connections: c.Connections,
		HashRate: c.HashRate, Fault: stratum.Fault(c.Fault), Logger: c.logger(a),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(a.ctx)
	if c.Duration > 0 {
		ctx, cancel = context.WithTimeout(a.ctx, c.Duration)
	}
	defer cancel()
	err = m.Run(ctx)
	fmt.Fprintf(a.stdout, "%+v\n", m.Stats().Snapshot())
	return err
}

// stratumFaults lists the names for the help.
func stratumFaults() string {
	var names []string
	for _, f := range stratum.Faults() {
		names = append(names, string(f))
	}
	return strings.Join(names, ", ")
}

type simLoadCmd struct {
	Pool        string        `default:"127.0.0.1:3333" help:"The port's host and port, on loopback."`
	Worker      string        `required:"" help:"ADDRESS.name; a connection's number is put behind it."`
	Password    string        `default:"d=1e-10" help:"The difficulty must be one that every hash meets."`
	Algorithm   string        `enum:"x11,scrypt,sha256d" default:"sha256d" help:"Hash function: ${enum}."`
	Connections int           `default:"100" help:"How many."`
	Pipeline    int           `default:"1" help:"Submits under way on each."`
	Duration    time.Duration `default:"5s" help:"How long they submit."`
	Idle        bool          `help:"Connect, authorize and submit nothing."`
	Limit       bool          `help:"Put the same load on a bare line echo, in a process of its own, before and after."`
	JSON        bool          `name:"json" help:"Print JSON."`
}

// Help is printed below the flags.
func (c *simLoadCmd) Help() string {
	return `The pool's limits count here too: raise [frontend] max_connections_per_ip and requests_per_second_per_ip,
and let min_difficulty of the port be low enough. With --limit the last line says which part of the echo's rate the pool reaches.`
}

func (c *simLoadCmd) Run(a *app) error {
	if err := onLoopback(c.Pool); err != nil {
		return err
	}
	if c.Limit && c.Idle {
		return errors.New("--limit compares submits: leave --idle away")
	}
	if err := enoughFiles(c.Connections); err != nil {
		return err
	}
	if !c.Limit {
		result, err := c.load(a.ctx, c.Pool)
		if err != nil {
			return err
		}
		return c.print(a, result, result)
	}
	var all struct {
		Pool  *stratum.LoadResult `json:"pool"`
		Limit *stratum.LoadResult `json:"limit"`
		Part  float64             `json:"part_of_limit"`
	}
	echo, stop, err := startEcho(a.ctx)
	if err != nil {
		return err
	}
	defer stop()
	// Half before and half after, so that whatever else the machine does falls on both.
	first, err := c.load(a.ctx, echo)
	if err != nil {
		return fmt.Errorf("loading the echo: %w", err)
	}
	if all.Pool, err = c.load(a.ctx, c.Pool); err != nil {
		return err
	}
	if all.Limit, err = c.load(a.ctx, echo); err != nil {
		return fmt.Errorf("loading the echo: %w", err)
	}
	all.Limit.PerSecond = (first.PerSecond + all.Limit.PerSecond) / 2
	all.Part = all.Pool.PerSecond / all.Limit.PerSecond
	if c.JSON {
		return c.print(a, nil, all)
	}
	fmt.Fprintln(a.stdout, "bare echo")
	if err := c.print(a, all.Limit, nil); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, "pool")
	if err := c.print(a, all.Pool, nil); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%.0f %% of the bare echo\n", 100*all.Part)
	return nil
}

func (c *simLoadCmd) load(ctx context.Context, at string) (*stratum.LoadResult, error) {
	l, err := stratum.NewLoad(stratum.LoadOptions{
		Pool: at, Worker: c.Worker, Password: c.Password, Algorithm: c.Algorithm, Connections: c.Connections,
		Pipeline: c.Pipeline, Duration: c.Duration, Idle: c.Idle,
	})
	if err != nil {
		return nil, err
	}
	return l.Run(ctx)
}

// print writes a result as a table, or whatever is given as JSON.
func (c *simLoadCmd) print(a *app, table *stratum.LoadResult, value any) error {
	if c.JSON {
		return json.NewEncoder(a.stdout).Encode(value)
	}
	_, err := table.WriteTo(a.stdout)
	return err
}

// enoughFiles raises the number of files that this process may open, and says what
// to do where that is not enough.
func enoughFiles(connections int) error {
	want := uint64(connections) + 100 //nolint:gosec // not negative
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("asking how many files may be open: %w", err)
	}
	if limit.Cur >= want {
		return nil
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: want, Max: max(limit.Max, want)}); err != nil {
		return fmt.Errorf("%d files may be open and %d are needed: raise them with ulimit -n %d", limit.Cur, want, want)
	}
	return nil
}

type simEchoCmd struct {
	Listen string `default:"127.0.0.1:0" help:"Where it listens."`
}

// Help is printed below the flags.
func (c *simEchoCmd) Help() string {
	return "It answers every line and looks at nothing: the limit that sim load --limit measures a pool beside."
}

func (c *simEchoCmd) Run(a *app) error {
	e, err := stratum.NewEcho(a.ctx, c.Listen)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, e.Addr())
	return e.Run(a.ctx)
}

// startEcho runs an echo in a process of its own, as the pool has one.
func startEcho(ctx context.Context) (address string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, fmt.Errorf("finding this program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "sim", "echo")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, fmt.Errorf("starting the echo: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("starting the echo: %w", err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("the echo does not start: %w", err)
	}
	return strings.TrimSpace(line), stop, nil
}

type simHTTPLoadCmd struct {
	Pool     string        `default:"http://127.0.0.1:8080" help:"The pool's URL, on loopback."`
	Network  string        `enum:"main,test,regtest" default:"test" help:"Network: ${enum}."`
	Action   string        `enum:"readytomine2,solution" default:"readytomine2" help:"What is asked: ${enum}."`
	Clients  int           `default:"64" help:"Connections that are open at once."`
	Miners   int           `default:"100" help:"Made-up miners that ask in turn."`
	Duration time.Duration `default:"5s" help:"How long."`
	JSON     bool          `name:"json" help:"Print JSON."`
}

// Help is printed below the flags.
func (c *simHTTPLoadCmd) Help() string {
	return `The pool's limits count here too: raise [frontend] requests_per_second_per_ip, burst_per_ip and
max_connections_per_ip, and for readytomine2 works_per_minute. The shares are made up; validators reject them.`
}

func (c *simHTTPLoadCmd) Run(a *app) error {
	u, err := url.Parse(c.Pool)
	if err != nil {
		return err
	}
	addr, err := netip.ParseAddrPort(u.Host)
	if err != nil {
		return fmt.Errorf("the pool's URL must name a loopback address and a port: %w", err)
	}
	client, err := miner.NewClient(c.Pool)
	if err != nil {
		return err
	}
	source, ok, err := load.Against(a.ctx, client, c.Network, c.Action, c.Miners)
	if err != nil {
		return err
	}
	r, err := load.Run(a.ctx, load.Options{Addr: addr, Source: source, OK: ok, Concurrency: c.Clients, Duration: c.Duration})
	if err != nil {
		return err
	}
	if !c.JSON {
		fmt.Fprintln(a.stdout, r)
		return nil
	}
	return json.NewEncoder(a.stdout).Encode(map[string]any{
		"ok": r.OK, "refused": r.Refused, "failed": r.Failed, "seconds": r.Elapsed.Seconds(), "requests_per_second": r.RequestsPerSecond(),
		"p50_ms": milliseconds(r.Latency.Percentile(50)), "p99_ms": milliseconds(r.Latency.Percentile(99)), "most_ms": milliseconds(r.Latency.Max()),
	})
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// onLoopback refuses other people's servers.
func onLoopback(pool string) error {
	addr, err := netip.ParseAddrPort(pool)
	if err != nil || !addr.Addr().IsLoopback() {
		return fmt.Errorf("%s: load is made on loopback addresses only, such as 127.0.0.1:3333", pool)
	}
	return nil
}
