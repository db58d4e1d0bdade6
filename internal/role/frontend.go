package role

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"purepool/httpcompat"
	"purepool/internal/config"
	"purepool/ledger"
	"purepool/pool"
	"purepool/pool/pow"
	"purepool/pool/queue"
)

// frontend starts the front desk and the wires before it.
func (p *process) frontend(ctx context.Context, broker *queue.Broker) error {
	store, err := ledger.OpenFrontend(ctx, p.cfg.Database.FrontendDSN.Value(), p.ledgerOptions())
	if err != nil {
		return err
	}
	p.stack.closing("frontend ledger", store.Close)
	p.registry.MustRegister(store.PoolCollector("frontend"))
	// A front desk without its database grants no work but still takes shares:
	// it stays ready, and says so.
	p.health.AddOptional("frontend database", store.Ping)
	ids, err := p.networkIDs(ctx, store)
	if err != nil {
		return err
	}

	publisher, err := queue.NewPublisher(broker, publisherConfig(p.cfg))
	if err != nil {
		return err
	}
	p.stack.run("publisher", publisher.Run)

	bans := p.bans(store)
	settings := p.deskConfig(ids)
	settings.Bans = bans
	desk, err := pool.NewDesk(settings, store, publisher)
	if err != nil {
		return err
	}
	p.stack.closing("front desk", func() error { desk.Close(); return nil })

	wire := HTTPConfig(&p.cfg.Frontend)
	wire.Bans = bans
	server, err := httpcompat.New(wire, desk, p.log, p.registry)
	if err != nil {
		return err
	}
	if err := server.Listen(ctx); err != nil {
		return err
	}
	p.addresses.HTTP = server.Addrs()
	*p.reloads = append(*p.reloads, server.ReloadCertificates)
	p.stack.run("http", server.Run)
	templates, err := p.templateDesks(broker, store, publisher, ids, bans)
	if err != nil {
		return err
	}
	return p.stratum(desk, templates, server.TLSConfig(), bans)
}

func (p *process) ledgerOptions() ledger.Options {
	return ledger.Options{MaxOpen: p.cfg.Database.MaxConnections}
}

// ledgerStart is what every store is asked at the start.
type ledgerStart interface {
	CheckVersion(ctx context.Context) error
	Networks(ctx context.Context) (map[string]int16, error)
}

// networkIDs waits for the database and returns the ledger's numbers of the
// networks that are configured.
func (p *process) networkIDs(ctx context.Context, store ledgerStart) (map[string]int16, error) {
	var known map[string]int16
	err := p.retry(ctx, "database", ledger.Away, func(ctx context.Context) (err error) {
		if err = store.CheckVersion(ctx); err == nil {
			known, err = store.Networks(ctx)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	ids := make(map[string]int16, len(p.cfg.Network))
	for _, name := range p.networks() {
		id, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("network %s is not in the database: run purepool migrate with this configuration", name)
		}
		ids[name] = id
	}
	return ids, nil
}

// networks lists the configured networks in order.
func (p *process) networks() []string { return slices.Sorted(maps.Keys(p.cfg.Network)) }

func (p *process) deskConfig(ids map[string]int16) pool.Config {
	f := &p.cfg.Frontend
	desk := pool.Config{
		Frontend: p.frontendID(), WorkLifetime: f.WorkLifetime, StateTTL: f.MinerRecheck, StoreTimeout: f.StoreTimeout,
		WorksPerMinute: f.WorksPerMinute,
		Logger:         p.log, Registerer: p.registry,
	}
	for _, name := range p.networks() {
		n := p.cfg.Network[name]
		if n.IsTemplate() {
			continue
		}
		chain, _ := n.ChainOf(name) // the configuration was checked
		desk.Networks = append(desk.Networks, pool.Network{
			Name: name, ID: ids[name], Chain: chain, PoolAddress: n.PoolAddress, HashTarget: pow.Target(n.HashTarget),
		})
	}
	return desk
}

func publisherConfig(cfg *config.Config) queue.PublisherConfig {
	q := &cfg.Queue
	return queue.PublisherConfig{
		Networks: slices.Sorted(maps.Keys(cfg.Network)),
		SpoolDir: string(q.SpoolDir), SpoolBytes: int64(q.SpoolMaxBytes), MemoryBytes: int64(q.MemoryMaxBytes),
		EnvelopeShares: q.EnvelopeShares, EnvelopeBytes: int(q.EnvelopeBytes), Linger: q.Linger, Timeout: q.Timeout,
		DrainTimeout: cfg.Frontend.DrainTimeout,
	}
}

// HTTPConfig is the HTTP wire's configuration in its own terms.
func HTTPConfig(f *config.Frontend) httpcompat.Config {
	cfg := httpcompat.Config{
		TrustedProxies: f.TrustedProxies,
		TLS: httpcompat.TLS{
			CertFile: string(f.TLS.CertFile), KeyFile: string(f.TLS.KeyFile),
			ACME: httpcompat.ACME{
				Hosts: f.TLS.ACMEHosts, CacheDir: string(f.TLS.ACMECache), Email: f.TLS.ACMEEmail, DirectoryURL: f.TLS.ACMEDirectory,
			},
		},
		Limits: httpcompat.Limits{
			MaxConnections: f.MaxConnections, MaxConnectionsPerIP: f.MaxConnectionsPerIP,
			RatePerIP: float64(f.RequestsPerSecondPerIP), BurstPerIP: f.BurstPerIP,
			MaxValue: int(f.MaxHeaderBytes), Memory: int64(f.MemoryBudget),
			IdleTimeout: f.IdleTimeout, HeadTimeout: f.HeadTimeout, MinRate: int(f.MinRate), MaxHeadTime: f.MaxHeadTime,
			DeskTimeout: f.RequestTimeout, WriteTimeout: f.WriteTimeout, DrainTimeout: f.DrainTimeout,
		},
	}
	for _, l := range f.HTTP {
		cfg.Listen = append(cfg.Listen, httpcompat.Listen{Address: l.Listen, TLS: l.TLS, Proxied: l.ProxyProtocol})
	}
	return cfg
}
