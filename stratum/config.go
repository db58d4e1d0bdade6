package stratum

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"purepool/pool"
	"purepool/pool/chain"
	"purepool/pool/job"
	"purepool/pool/vardiff"
)

// Dialect is the meaning of the words on a port.
type Dialect uint8

// The dialects (docs/PROTOCOL.md, "Stratum over TCP").
const (
	// Template is standard Stratum v1.
	Template Dialect = iota + 1
	// Classic is the classic HTTP protocol on Stratum's framing.
	Classic
)

// ErrConfig is what every error of [New] about its configuration is.
var ErrConfig = errors.New("stratum configuration is invalid")

// Config is the configuration of a [Server]. The zero value of a field means its
// default, where the comment names one.
type Config struct {
	Ports    []Port
	Networks []Network
	Desk     Desk // needed by ports of the classic dialect

	// Frontend is this frontend's number, unique over all frontends of the pool: it
	// keeps the search spaces of their miners apart.
	Frontend uint16
	// SessionKey is a secret of this frontend, at least 16 bytes, with which it
	// knows its sessions again after a restart. Empty: only until it ends.
	SessionKey []byte

	Limits Limits
	// Bans are those whom the operator keeps away; nil: nobody.
	Bans *pool.Bans

	// EventLoops is the number of goroutines that read and write plain connections
	// (GOMAXPROCS).
	EventLoops int
	// Hashers is the number of goroutines that compute proofs of work (GOMAXPROCS).
	Hashers int
	// Writers is how many batches of shares of a network are on their way to the
	// sink at once (4), and BatchShares how many shares one holds at most (1,024).
	Writers, BatchShares int
	// Callers is the number of requests that wait for the front desk or the door at
	// once (64).
	Callers int
	// DuplicatesPerJob bounds the shares remembered of one job (1,048,576).
	DuplicatesPerJob int
	// RememberWorkers bounds the workers whose difficulty is remembered over
	// reconnects (65,536), RememberFor how long it is believed (1 h).
	RememberWorkers int
	RememberFor     time.Duration
	// WorkRefresh is how old a classic miner's work becomes before it is given new
	// work unasked (6 h; work is good for a day).
	WorkRefresh time.Duration
	// DrainTime is over how long connections are closed when the server stops (10
	// s), so that not all miners reconnect at once, or when their work has become
	// worthless; DrainTo names the host and port they are told to go to when the server
	// stops; empty: where they came from.
	DrainTime time.Duration
	DrainTo   DrainTarget

	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept but not registered
}

// DrainTarget is where miners are sent when the server stops.
type DrainTarget struct {
	Host string
	Port uint16
}

// Network is a template network.
type Network struct {
	Name  string // main, test or regtest
	Chain chain.Network
	Jobs  Jobs
	Sink  ShareSink
	Door  Door
	// Algorithm is the hash function: x11, scrypt or sha256d. Jobs of another one
	// are refused.
	Algorithm string
	// Extranonce2Size is what a miner is told that subscribes before there is a
	// job, in bytes (4).
	Extranonce2Size uint8
}

// Port is one listening socket.
type Port struct {
	Name    string // labels metrics and logs
	Address string // host:port as net.Listen takes it
	Network string
	Dialect Dialect

	// StartDifficulty is the difficulty of a worker of which nothing is known (1).
	StartDifficulty float64
	// Vardiff bounds and steers difficulties (floor 0.0001, ceiling 10^12).
	Vardiff vardiff.Config

	// TLS, where set, makes it a TLS port: a goroutine per connection, the same
	// sessions.
	TLS *tls.Config
	// Proxies are the addresses of balancers. A connection from one must begin with
	// a PROXY protocol header, version 1 or 2; one from anywhere else is a miner's
	// own.
	Proxies []netip.Prefix
	// MaxLine bounds a line in bytes (16 KiB; on classic ports 8 MiB + 64 KiB).
	MaxLine int
}

// Limits bound what the internet may do. An address is a miner's own, from behind
// a PROXY header too; IPv6 addresses count by their /64.
type Limits struct {
	Connections int // in all (20,000)
	PerIP       int // of one address (1,000)
	// AcceptRate is how many connections are accepted per second (4,000); more wait
	// in the listening socket. PerIPRate is how many of one address per second are
	// served (50, with bursts of ten seconds' worth); more are closed.
	AcceptRate, PerIPRate float64

	AuthTimeout time.Duration // until a worker is authorized (30 s)
	IdleTimeout time.Duration // without a line from the miner (15 min; 3 h on classic ports)
	LineTimeout time.Duration // from a line's first byte to its last (60 s)

	// Pending is how many requests of one connection may wait for their answers
	// (1,024; classic 32); more are refused, not queued.
	Pending, PendingClassic int
	// InFlight bounds shares under way in all (65,536), Calls those requests that
	// wait for the front desk (16,384).
	InFlight, Calls int

	// Chatter is how many requests that are no shares a connection may send at once
	// (500); twenty more every second.
	Chatter int

	// LongLineRate is how many bytes a second one address may send of lines beyond 64
	// KiB (8 MiB, and four seconds' worth at once); who sends more is closed.
	LongLineRate float64

	// OutboundBytes closes a connection that does not read (256 KiB).
	OutboundBytes int
	// MemoryBytes bounds unfinished lines and solutions under way, over all
	// connections (256 MiB). Half of it is kept for authorized miners.
	MemoryBytes int64

	// Window is the time over which misbehaviour is counted (2 min), BanTime how
	// long an address stays banned (10 min).
	Window, BanTime time.Duration
	// JunkLines closes a connection (10), JunkPerIP bans its address (50).
	JunkLines, JunkPerIP int
	// InvalidShares is the part of an address's shares that may be invalid (0.5)
	// once JudgedShares were seen (200). Stale shares never count.
	InvalidShares float64
	JudgedShares  int

	// Allowed addresses are never counted and never banned.
	Allowed []netip.Prefix
	// Addresses bounds how many addresses are counted (65,536).
	Addresses int
}

func or[T comparable](v *T, fallback T) {
	var zero T
	if *v == zero {
		*v = fallback
	}
}

func (c *Config) setDefaults(procs int) {
	or(&c.EventLoops, procs)
	or(&c.Hashers, procs)
	or(&c.Writers, 4)
	or(&c.BatchShares, 1024)
	or(&c.Callers, 64)
	or(&c.DuplicatesPerJob, 1<<20)
	or(&c.RememberWorkers, 1<<16)
	or(&c.RememberFor, time.Hour)
	or(&c.WorkRefresh, 6*time.Hour)
	or(&c.DrainTime, 10*time.Second)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Limits.setDefaults()
}

func (l *Limits) setDefaults() {
	or(&l.Connections, 20_000)
	or(&l.PerIP, 1000)
	or(&l.AcceptRate, 4000)
	or(&l.PerIPRate, 50)
	or(&l.AuthTimeout, 30*time.Second)
	or(&l.IdleTimeout, 15*time.Minute)
	or(&l.LineTimeout, 60*time.Second)
	or(&l.Pending, 1024)
	or(&l.PendingClassic, 32)
	or(&l.InFlight, 1<<16)
	or(&l.Calls, 1<<14)
	or(&l.Chatter, 500)
	or(&l.LongLineRate, 8<<20)
	or(&l.OutboundBytes, 256<<10)
	or(&l.MemoryBytes, 256<<20)
	or(&l.Window, 2*time.Minute)
	or(&l.BanTime, 10*time.Minute)
	or(&l.JunkLines, 10)
	or(&l.JunkPerIP, 50)
	or(&l.InvalidShares, 0.5)
	or(&l.JudgedShares, 200)
	or(&l.Addresses, 1<<16)
}

func (p *Port) setDefaults() {
	or(&p.StartDifficulty, 1)
	or(&p.Vardiff.Min, 1e-4)
	or(&p.Vardiff.Max, 1e12)
	if p.MaxLine == 0 {
		p.MaxLine = 16 << 10
		if p.Dialect == Classic {
			p.MaxLine = 8<<20 + 64<<10
		}
	}
}

// checkNetwork finds what is missing.
func checkNetwork(n *Network) error {
	or(&n.Extranonce2Size, job.MinExtranonce2)
	switch {
	case n.Name == "" || n.Jobs == nil || n.Sink == nil || n.Door == nil:
		return fmt.Errorf("%w: network %q needs a name, jobs, a sink and a door", ErrConfig, n.Name)
	case n.Extranonce2Size < job.MinExtranonce2 || n.Extranonce2Size > job.MaxExtranonce2:
		return fmt.Errorf("%w: network %s: extranonce2 of %d bytes", ErrConfig, n.Name, n.Extranonce2Size)
	case n.Algorithm != "x11" && n.Algorithm != "scrypt" && n.Algorithm != "sha256d":
		return fmt.Errorf("%w: network %s: unknown algorithm %q", ErrConfig, n.Name, n.Algorithm)
	}
	return nil
}
