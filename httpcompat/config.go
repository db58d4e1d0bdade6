package httpcompat

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"purepool/pool"
)

// Desk is the front desk, as seen from the wire. A *pool.Refusal carries the text
// that the miner reads; every other error is a fault of the pool.
type Desk interface {
	RequestWork(ctx context.Context, r pool.WorkRequest) (pool.WorkGrant, error)
	SubmitSolution(ctx context.Context, r pool.SolutionRequest) (pool.SolutionReceipt, error)
}

// Config says where to listen, whom to believe and how much to bear.
type Config struct {
	// Listen are the addresses, at least one.
	Listen []Listen
	// TLS is needed when one of the addresses asks for it.
	TLS TLS
	// TrustedProxies may say in X-Forwarded-For or X-Real-IP for whom they speak.
	// The limits per address are then those of the address they name.
	TrustedProxies []netip.Prefix
	// Bans are those whom the operator keeps away; nil: nobody.
	Bans   *pool.Bans
	Limits Limits
}

// Listen is one address, as host:port.
type Listen struct {
	Address string
	TLS     bool
	// Proxied says that connections from trusted proxies begin with a PROXY
	// protocol header, version 1 or 2.
	Proxied bool
}

// Limits bound what the server bears. A field that is zero takes its default.
type Limits struct {
	MaxConnections      int     // open at once; default 10,000
	MaxConnectionsPerIP int     // open at once per IPv4 address or IPv6 /64; default 256
	RatePerIP           float64 // new connections per second and address; default 50
	BurstPerIP          int     // new connections at once per address; default 500

	MaxHeaderLines int // default 100
	// MaxValue is the longest header value in bytes; default 8 MiB. All other
	// lines of the head may have 64 KiB together.
	MaxValue int
	// Memory is for heads beyond 16 KiB, of all requests together, in bytes;
	// default 256 MiB. A request that finds no room is answered that the pool is
	// busy. It must have room for three of the longest heads: one that grows needs
	// twice its size for a moment, and one more is copied out of.
	Memory int64
	// MemoryPerIP is the part of Memory that one address may have; default a
	// quarter, but always enough for one request.
	MemoryPerIP int64

	IdleTimeout time.Duration // from the connection to the first byte; default 10 s
	// HeadTimeout is what a head may take, plus the time that its bytes take at
	// MinRate, but at most MaxHeadTime; default 10 s.
	HeadTimeout time.Duration
	MinRate     int           // bytes per second; default 8,192
	MaxHeadTime time.Duration // default 2 min
	// DeskTimeout is when a request is given up; default 30 s.
	DeskTimeout  time.Duration
	WriteTimeout time.Duration // for the answer; default 10 s
	// LingerTimeout and LingerBytes bound how long and how much more is read, and
	// thrown away, after the answer, so that a client which is still sending gets
	// to read it; default 5 s and 64 MiB.
	LingerTimeout time.Duration
	LingerBytes   int64
	// DrainTimeout is for the requests that run when the server stops; default 10 s.
	DrainTimeout time.Duration

	HandshakeTimeout time.Duration // default 10 s
	MaxHandshakes    int           // TLS handshakes under way at once; default 512
}

// headSlack is what all lines but the longest may have together, in bytes.
const headSlack = 64 << 10

func orDefault[T int | int64 | float64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

func (l Limits) withDefaults() Limits {
	orDefault(&l.MaxConnections, 10_000)
	orDefault(&l.MaxConnectionsPerIP, 256)
	orDefault(&l.RatePerIP, 50)
	orDefault(&l.BurstPerIP, 500)
	orDefault(&l.MaxHeaderLines, 100)
	orDefault(&l.MaxValue, 8<<20)
	orDefault(&l.Memory, 256<<20)
	orDefault(&l.MemoryPerIP, max(l.Memory/4, l.oneRequest()))
	orDefault(&l.IdleTimeout, 10*time.Second)
	orDefault(&l.HeadTimeout, 10*time.Second)
	orDefault(&l.MinRate, 8<<10)
	orDefault(&l.MaxHeadTime, 2*time.Minute)
	orDefault(&l.DeskTimeout, 30*time.Second)
	orDefault(&l.WriteTimeout, 10*time.Second)
	orDefault(&l.LingerTimeout, 5*time.Second)
	orDefault(&l.LingerBytes, 64<<20)
	orDefault(&l.DrainTimeout, 10*time.Second)
	orDefault(&l.HandshakeTimeout, 10*time.Second)
	orDefault(&l.MaxHandshakes, 512)
	return l
}

// maxHead is the longest head, in bytes.
func (l Limits) maxHead() int { return l.MaxValue + headSlack }

// oneRequest is what the largest request takes of the memory while it grows.
func (l Limits) oneRequest() int64 { return 2 * int64(l.maxHead()) }

// Check tells what is wrong with the configuration, all of it at once.
func (c Config) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	l := c.Limits.withDefaults()
	if len(c.Listen) == 0 {
		bad("no address to listen on")
	}
	for _, a := range c.Listen {
		if a.TLS && !c.TLS.enabled() {
			bad("%s wants TLS, but there is neither a certificate nor ACME", a.Address)
		}
	}
	if err := c.TLS.check(); err != nil {
		errs = append(errs, err)
	}
	for name, v := range map[string]float64{
		"MaxConnections": float64(l.MaxConnections), "MaxConnectionsPerIP": float64(l.MaxConnectionsPerIP),
		"RatePerIP": l.RatePerIP, "BurstPerIP": float64(l.BurstPerIP), "MaxHeaderLines": float64(l.MaxHeaderLines),
		"MaxValue": float64(l.MaxValue), "MinRate": float64(l.MinRate), "MaxHandshakes": float64(l.MaxHandshakes),
		"IdleTimeout": float64(l.IdleTimeout), "HeadTimeout": float64(l.HeadTimeout), "MaxHeadTime": float64(l.MaxHeadTime),
		"DeskTimeout": float64(l.DeskTimeout), "WriteTimeout": float64(l.WriteTimeout), "LingerTimeout": float64(l.LingerTimeout),
		"LingerBytes": float64(l.LingerBytes), "DrainTimeout": float64(l.DrainTimeout), "HandshakeTimeout": float64(l.HandshakeTimeout),
	} {
		if v < 0 {
			bad("%s is negative", name)
		}
	}
	if least := l.oneRequest() + int64(l.maxHead()); l.Memory < least {
		bad("Memory of %d bytes is less than one value of %d bytes needs: %d", l.Memory, l.MaxValue, least)
	}
	if l.MemoryPerIP < l.oneRequest() {
		bad("MemoryPerIP of %d bytes is less than one value of %d bytes needs: %d", l.MemoryPerIP, l.MaxValue, l.oneRequest())
	}
	return errors.Join(errs...)
}
