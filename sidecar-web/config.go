package web

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"purepool/ledger"
	"purepool/pool/chain"
)

// Store is the ledger as the pages read it; [ledger.WebStore] is the real one.
type Store interface {
	Pulse(ctx context.Context, networkID int16, now time.Time) (ledger.NetworkPulse, error)
	Statistics(ctx context.Context, networkID int16, now time.Time) (ledger.Statistics, error)
	SubsidySum(ctx context.Context, networkID int16, from, to time.Time) (ledger.ChainSum, error)
	NetworkSeries(ctx context.Context, networkID int16, span string, now time.Time) (ledger.Series, error)
	Blocks(ctx context.Context, networkID int16, limit int, height int32, id int64) ([]ledger.PoolBlock, error)
	Transactions(ctx context.Context, networkID int16, limit int, before int64) ([]ledger.Transaction, error)
	Miners(ctx context.Context, networkID int16, limit int, weight string, minerID int64) ([]ledger.RecentMiner, error)

	// The next ones read for several miners at once.
	FindMiners(ctx context.Context, networkID int16, addresses []string) (map[string]ledger.WebMiner, error)
	MinerFigures(ctx context.Context, minerIDs []int64, newest int, now time.Time) (map[int64]*ledger.MinerFigures, error)
	MinerSeries(ctx context.Context, minerIDs []int64, span string, now time.Time) (map[int64]ledger.Series, error)
	MinerPulses(ctx context.Context, minerIDs []int64, now time.Time) (map[int64]ledger.MinerPulse, error)
	Entries(ctx context.Context, minerID int64, limit int, before int64) ([]ledger.Entry, error)
	MinerPayments(ctx context.Context, minerID int64, limit int, before int64) ([]ledger.MinerPayment, error)
}

// Kinds of endpoints.
const (
	EndpointHTTP       = "http"        // classic clients, Action.aspx
	EndpointHTTPS      = "https"       // the same over TLS
	EndpointStratum    = "stratum+tcp" // Stratum
	EndpointStratumTLS = "stratum+ssl" // Stratum over TLS
)

// Endpoint is where miners connect.
type Endpoint struct {
	Kind string
	// Host is empty where it is the host under which the visitor knows the pages.
	Host string
	Port int
	// Note says for whom it is; may be empty.
	Note string
}

// Network is a network that the pages show.
type Network struct {
	Name  string // in addresses: main, test, regtest
	ID    int16  // the ledger's number; 0 where it is not known yet (see Open)
	Chain chain.Network
	// Ticker stands behind amounts: BBP.
	Ticker string
	// Mode is classic or template, Algorithm x11, scrypt or sha256d.
	Mode, Algorithm string
	// FeePercent is the pool's part, an exact decimal number.
	FeePercent string
	// PayoutThreshold is the balance from which on miners are paid, in satoshis; 0: not told.
	PayoutThreshold int64
	// MaturityBlocks is how many confirmations a block needs before its reward is
	// shared out, MaturityAge how old it has to be; 0: not told.
	MaturityBlocks int32
	MaturityAge    time.Duration
	Endpoints      []Endpoint
}

// Config says what is shown and to how many. Zero fields mean the defaults.
type Config struct {
	// Title is the pool's name; Purepool.
	Title    string
	Networks []Network // the first one is shown at /
	// TrustedProxies may say in X-Forwarded-For or X-Real-IP for whom they speak.
	TrustedProxies []netip.Prefix
	// RatePerIP is requests a second from one IP address (IPv6: one /64), over a
	// while; 20. BurstPerIP is how many may come at once; 200.
	RatePerIP  float64
	BurstPerIP int
	// MaxListeners is how many streams of live numbers are open at once, in all
	// and from one address; 2000 and 20. Others ask now and then instead.
	MaxListeners, MaxListenersPerIP int
	// LiveEvery is how often live numbers are read; 2 s.
	LiveEvery time.Duration
	// Fresh is how long what was read is shown without asking again; 3 s. What
	// moves slowly is kept for a multiple of it.
	Fresh time.Duration
	// StoreTimeout is how long the database may take before a page does without; 4 s.
	StoreTimeout time.Duration
	// DrainTimeout is how long requests under way may take at the end; 5 s.
	DrainTimeout time.Duration
	// Now is the clock of everything shown and kept; time.Now.
	Now func() time.Time
}

// errNoNetworks: there is nothing to show.
var errNoNetworks = errors.New("web: no networks are configured")

func (c Config) withDefaults() (Config, error) {
	if len(c.Networks) == 0 {
		return c, errNoNetworks
	}
	seen := map[string]bool{}
	for _, n := range c.Networks {
		if n.Name == "" || seen[n.Name] {
			return c, fmt.Errorf("web: network %q is there twice or has no name", n.Name)
		}
		seen[n.Name] = true
	}
	setDefault(&c.Title, "Purepool")
	setDefault(&c.RatePerIP, 20)
	setDefault(&c.BurstPerIP, 200)
	setDefault(&c.MaxListeners, 2000)
	setDefault(&c.MaxListenersPerIP, 20)
	setDefault(&c.LiveEvery, 2*time.Second)
	setDefault(&c.Fresh, 3*time.Second)
	setDefault(&c.StoreTimeout, 4*time.Second)
	setDefault(&c.DrainTimeout, 5*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
