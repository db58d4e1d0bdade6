package role

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"purepool/ledger"
	"purepool/pool"
)

// bansEvery is how often a frontend reads the operator's bans: one small query.
const bansEvery = 2 * time.Second

// bans starts what keeps the operator's bans of this frontend up to date. While
// the database is away they hold as they were.
func (p *process) bans(store *ledger.FrontendStore) *pool.Bans {
	bans := &pool.Bans{}
	held := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "purepool_operator_bans", Help: "Bans of the operator that this frontend applies; those that it makes by itself are purepool_stratum_banned.",
	}, func() float64 { return float64(bans.Count()) })
	p.registry.MustRegister(held)
	p.stack.run("bans", func(ctx context.Context) error {
		ticker := time.NewTicker(bansEvery)
		defer ticker.Stop()
		failing := false
		for {
			err := readBans(ctx, store, bans)
			if err != nil && ctx.Err() == nil && !failing {
				p.log.Warn("the operator's bans cannot be read and hold as they were", slog.Any("error", err))
			}
			failing = err != nil
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C:
			}
		}
	})
	return bans
}

func readBans(ctx context.Context, store *ledger.FrontendStore, into *pool.Bans) error {
	list, err := store.Bans(ctx)
	if err != nil {
		return err
	}
	var prefixes []netip.Prefix
	var miners []pool.BannedMiner
	for i := range list {
		if b := &list[i]; b.Prefix.IsValid() {
			prefixes = append(prefixes, b.Prefix)
		} else {
			miners = append(miners, pool.BannedMiner{GUID: b.GUID, Network: b.Network, Address: b.Miner})
		}
	}
	into.Set(prefixes, miners)
	return nil
}
