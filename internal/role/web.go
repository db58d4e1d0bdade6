package role

import (
	"cmp"
	"context"
	"net"
	"net/url"
	"slices"
	"strconv"

	"purepool/internal/config"
	"purepool/ledger"
	web "purepool/sidecar-web"
)

// pages are the web's part of a process.
type pages struct {
	store  *ledger.WebStore
	server *web.Server
}

// listenWeb starts the pages. Until openWeb has reached the database they say so:
// a visitor meets a calm page, not a closed door.
func (p *process) listenWeb(ctx context.Context) (*pages, error) {
	store, err := ledger.OpenWeb(ctx, p.cfg.Database.WebDSN.Value(), p.ledgerOptions())
	if err != nil {
		return nil, err
	}
	p.stack.closing("web ledger", store.Close)
	p.registry.MustRegister(store.PoolCollector("web"))
	// Pages without their database show the last known numbers, and say so.
	p.health.AddOptional("web database", store.Ping)
	server, err := web.New(webConfig(p.cfg, p.networks()), store, p.log, p.registry)
	if err != nil {
		return nil, err
	}
	if err := server.Listen(ctx, p.cfg.Web.Listen); err != nil {
		return nil, err
	}
	p.addresses.Web = server.Addr()
	p.stack.run("web", server.Run)
	return &pages{store, server}, nil
}

// openWeb waits for the database and lets the pages show it.
func (p *process) openWeb(ctx context.Context, w *pages) error {
	ids, err := p.networkIDs(ctx, w.store)
	if err != nil {
		return err
	}
	return w.server.Open(ids)
}

// webConfig is the pages' configuration in their own terms, without the ledger's
// numbers of the networks.
func webConfig(cfg *config.Config, names []string) web.Config {
	w := &cfg.Web
	out := web.Config{
		Title: w.Title, TrustedProxies: w.TrustedProxies, RatePerIP: float64(w.RequestsPerSecondPerIP), BurstPerIP: w.BurstPerIP,
		MaxListeners: w.MaxListeners, Fresh: w.Fresh, StoreTimeout: w.StoreTimeout,
	}
	first := cmp.Or(w.DefaultNetwork, "main")
	slices.SortStableFunc(names, func(x, y string) int {
		switch first {
		case x:
			return -1
		case y:
			return 1
		}
		return 0
	})
	for _, name := range names {
		n := cfg.Network[name]
		c, _ := n.ChainOf(name) // the configuration was checked
		shown := web.Network{
			Name: name, Chain: c, Ticker: tickerOf(c.Coin), Mode: n.Mode, Algorithm: n.Algorithm, FeePercent: n.FeePercent.String(),
			MaturityBlocks: int32(n.Settlement.Confirmations), MaturityAge: n.Settlement.MaturityTime, //nolint:gosec // bounded by the configuration
			Endpoints: webEndpoints(cfg, name),
		}
		if n.Payments.Enabled {
			shown.PayoutThreshold = int64(n.Payments.Threshold)
		}
		out.Networks = append(out.Networks, shown)
	}
	return out
}

// tickerOf is what stands behind amounts of a coin.
func tickerOf(coin string) string {
	switch coin {
	case "BiblePay":
		return "BBP"
	case "Litecoin":
		return "LTC"
	case "Bitcoin":
		return "BTC"
	}
	return coin
}

// webEndpoints is where visitors are told to connect: where the configuration
// says so, else at the frontend's listeners that it knows.
func webEndpoints(cfg *config.Config, network string) (list []web.Endpoint) {
	for _, e := range cfg.Web.Endpoint {
		u, err := url.Parse(e.URL)
		if err != nil || e.Network != network {
			continue // the configuration was checked
		}
		port, err := strconv.Atoi(u.Port())
		if err != nil {
			port = map[string]int{"http": 80, "https": 443}[u.Scheme]
		}
		list = append(list, web.Endpoint{Kind: u.Scheme, Host: u.Hostname(), Port: port, Note: e.Note})
	}
	if len(cfg.Web.Endpoint) > 0 {
		return list
	}
	add := func(kind, listen string) {
		_, text, err := net.SplitHostPort(listen)
		port, err2 := strconv.Atoi(text)
		if err == nil && err2 == nil && port > 0 {
			list = append(list, web.Endpoint{Kind: kind, Host: cfg.Web.MinerHost, Port: port})
		}
	}
	for _, l := range cfg.Frontend.HTTP {
		if cfg.Network[network].Mode == "classic" {
			add(secureOr(l.TLS, web.EndpointHTTPS, web.EndpointHTTP), l.Listen)
		}
	}
	for _, l := range cfg.Frontend.Stratum {
		if l.Network == network {
			add(secureOr(l.TLS, web.EndpointStratumTLS, web.EndpointStratum), l.Listen)
		}
	}
	return list
}

func secureOr(secure bool, yes, no string) string {
	if secure {
		return yes
	}
	return no
}
