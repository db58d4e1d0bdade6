package web

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"purepool/ledger"
)

// builder gathers what a page shows and notes what is older than it should be.
type builder struct {
	s       *Server
	ctx     context.Context //nolint:containedctx // lives as long as one page is built
	now     time.Time
	network *Network
	oldest  time.Time // of what is too old; zero: everything is fresh
}

func (s *Server) build(ctx context.Context, n *Network) *builder {
	return &builder{s: s, ctx: ctx, now: s.cfg.Now(), network: n}
}

// note takes an answer of a memo in.
func note[V any](b *builder, k known[V], err error) (V, error) {
	switch {
	case err != nil:
		b.s.problem(err)
	case k.Err != nil:
		b.s.problem(k.Err)
		if b.oldest.IsZero() || k.At.Before(b.oldest) {
			b.oldest = k.At
		}
	default:
		b.s.fine()
	}
	return k.Value, err
}

// notice tells that the numbers are old; empty where they are not.
func (b *builder) notice() string {
	if b.oldest.IsZero() {
		return ""
	}
	return fmt.Sprintf("The database does not answer right now. These numbers are %s old. Mining goes on as usual.", formatSpan(b.now.Sub(b.oldest)))
}

func (s *Server) pulse(ctx context.Context, n *Network) (known[ledger.NetworkPulse], error) {
	return s.pulses.get(ctx, n.Name, func(ctx context.Context) (ledger.NetworkPulse, error) {
		return s.store.Pulse(ctx, n.ID, s.cfg.Now())
	})
}

func (b *builder) pulse() (*ledger.NetworkPulse, error) {
	k, err := b.s.pulse(b.ctx, b.network)
	p, err := note(b, k, err)
	return &p, err
}

func (b *builder) statistics() (*ledger.Statistics, error) {
	k, err := b.s.stats.get(b.ctx, b.network.Name, func(ctx context.Context) (ledger.Statistics, error) {
		return b.s.store.Statistics(ctx, b.network.ID, b.s.cfg.Now())
	})
	st, err := note(b, k, err)
	return &st, err
}

func (b *builder) series(span string) (ledger.Series, error) {
	k, err := b.s.serieses.get(b.ctx, b.network.Name+" "+span, func(ctx context.Context) (ledger.Series, error) {
		return b.s.store.NetworkSeries(ctx, b.network.ID, span, b.s.cfg.Now())
	})
	return note(b, k, err)
}

// spanOfMiner is a series that somebody asks for.
type spanOfMiner struct {
	miner int64
	span  string
}

func (b *builder) minerSeries(m *ledger.WebMiner, span string) (ledger.Series, error) {
	k, err := b.s.serieses.get(b.ctx, fmt.Sprint("miner ", m.ID, " ", span), func(ctx context.Context) (ledger.Series, error) {
		series, err := b.s.seriesTogether.get(ctx, spanOfMiner{m.ID, span})
		return series.Since(m.CreatedAt), err
	})
	return note(b, k, err)
}

func (s *Server) readSerieses(ctx context.Context, keys []spanOfMiner) (map[spanOfMiner]ledger.Series, error) {
	bySpan, all := map[string][]int64{}, make(map[spanOfMiner]ledger.Series, len(keys))
	for _, k := range keys {
		bySpan[k.span] = append(bySpan[k.span], k.miner)
	}
	for span, ids := range bySpan {
		found, err := s.store.MinerSeries(ctx, ids, span, s.cfg.Now())
		if err != nil {
			return nil, err
		}
		for id, series := range found {
			all[spanOfMiner{id, span}] = series
		}
	}
	return all, nil
}

// position is where a page of a list begins; the zero one is its beginning.
type position struct {
	height int32
	id     int64
}

// beginning is before everything.
func beginning() position { return position{math.MaxInt32, math.MaxInt64} }

func (b *builder) blocks(limit int, from position) ([]ledger.PoolBlock, error) {
	k, err := b.s.blocks.get(b.ctx, fmt.Sprint(b.network.Name, limit, from), func(ctx context.Context) ([]ledger.PoolBlock, error) {
		return b.s.store.Blocks(ctx, b.network.ID, limit, from.height, from.id)
	})
	return note(b, k, err)
}

func (b *builder) transactions(limit int, before int64) ([]ledger.Transaction, error) {
	k, err := b.s.payments.get(b.ctx, fmt.Sprint(b.network.Name, limit, " ", before), func(ctx context.Context) ([]ledger.Transaction, error) {
		return b.s.store.Transactions(ctx, b.network.ID, limit, before)
	})
	return note(b, k, err)
}

func (b *builder) miners(limit int, weight string, id int64) ([]ledger.RecentMiner, error) {
	k, err := b.s.miners.get(b.ctx, fmt.Sprint(b.network.Name, limit, " ", weight, " ", id), func(ctx context.Context) ([]ledger.RecentMiner, error) {
		return b.s.store.Miners(ctx, b.network.ID, limit, weight, id)
	})
	return note(b, k, err)
}

// findMiner looks a miner up; a nil value is none. What cannot be an address of
// the network is not looked for.
func (s *Server) findMiner(ctx context.Context, n *Network, address string) (known[*ledger.WebMiner], error) {
	if len(address) > ledger.MaxAddress || !isASCII(address) {
		return known[*ledger.WebMiner]{}, nil
	}
	return s.found.get(ctx, n.Name+" "+address, func(ctx context.Context) (*ledger.WebMiner, error) {
		return s.findTogether.get(ctx, addressOn{n.ID, address})
	})
}

// addressOn is an address that somebody looks for.
type addressOn struct {
	network int16
	address string
}

// readMiners looks addresses up; those of nobody stay nil, which is an answer,
// and worth keeping.
func (s *Server) readMiners(ctx context.Context, keys []addressOn) (map[addressOn]*ledger.WebMiner, error) {
	byNetwork, all := map[int16][]string{}, make(map[addressOn]*ledger.WebMiner, len(keys))
	for _, k := range keys {
		byNetwork[k.network] = append(byNetwork[k.network], k.address)
	}
	for network, addresses := range byNetwork {
		found, err := s.store.FindMiners(ctx, network, addresses)
		if err != nil {
			return nil, err
		}
		for address, m := range found {
			all[addressOn{network, address}] = &m
		}
	}
	return all, nil
}

// miner returns the miner with this address; nil where there is none.
func (b *builder) miner(address string) (*ledger.WebMiner, error) {
	k, err := b.s.findMiner(b.ctx, b.network, address)
	return note(b, k, err)
}

func (b *builder) details(m *ledger.WebMiner) (*ledger.MinerFigures, error) {
	k, err := b.s.details.get(b.ctx, strconv.FormatInt(m.ID, 10), func(ctx context.Context) (*ledger.MinerFigures, error) {
		return b.s.figuresTogether.get(ctx, m.ID)
	})
	return note(b, k, err)
}

func (s *Server) readFigures(ctx context.Context, ids []int64) (map[int64]*ledger.MinerFigures, error) {
	return s.store.MinerFigures(ctx, ids, minerRows+1, s.cfg.Now())
}

func (b *builder) entries(m *ledger.WebMiner, limit int, before int64) ([]ledger.Entry, error) {
	k, err := b.s.entries.get(b.ctx, fmt.Sprint(m.ID, " ", limit, " ", before), func(ctx context.Context) ([]ledger.Entry, error) {
		return b.s.store.Entries(ctx, m.ID, limit, before)
	})
	return note(b, k, err)
}

func (b *builder) minerPayments(m *ledger.WebMiner, limit int, before int64) ([]ledger.MinerPayment, error) {
	k, err := b.s.paid.get(b.ctx, fmt.Sprint(m.ID, " ", limit, " ", before), func(ctx context.Context) ([]ledger.MinerPayment, error) {
		return b.s.store.MinerPayments(ctx, m.ID, limit, before)
	})
	return note(b, k, err)
}
