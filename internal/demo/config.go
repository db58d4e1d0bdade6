package demo

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"purepool/internal/config"
	"purepool/ledger/pgcluster"
	"purepool/pool/chain"
)

// writeConfig writes the demo's configuration where a person can read it and
// purepool admin can use it, and loads it like any other.
func (d *demo) writeConfig(ctx context.Context) (*config.Config, error) {
	var addresses [3]string
	for i, preferred := range []string{"127.0.0.1:8080", "127.0.0.1:9101", "127.0.0.1:8081"} {
		address, err := freeAddress(ctx, preferred)
		if err != nil {
			return nil, err
		}
		addresses[i] = address
	}
	user, password := d.daemon.Credentials()
	dsn := func(role string) string { return d.cluster.DSN(role, database) }
	text := fmt.Sprintf(`# Written by purepool demo at each start; changes are lost.

[database]
frontend_dsn = %q
backend_dsn = %q
web_dsn = %q
owner_dsn = %q

[queue]
url = %q
spool_dir = %q

[frontend]
id = "demo"
# All miners of the demo share one address.
max_connections_per_ip = 10000
requests_per_second_per_ip = 10000
burst_per_ip = 10000

[[frontend.http]]
listen = %q

[health]
frontend_listen = %q

[web]
listen = %q

[network.%s]
chain = "biblepay-test"
pool_address = %q
hash_target = %q
# What an earlier demo gave out, at whatever pace, is good.
easiest_hash_target = "0fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
fee_percent = "1"

[[network.%s.daemon]]
url = %q
user = %q
password = %q

%s`,
		dsn("purepool_frontend"), dsn("purepool_backend"), dsn("purepool_web"), dsn(pgcluster.Superuser),
		"embedded:"+filepath.Join(d.opts.Dir, "queue"), filepath.Join(d.opts.Dir, "spool"),
		addresses[0], addresses[1], addresses[2],
		network, d.daemon.PoolAddress(), d.pace.hashTarget, network, d.daemon.URL(), user, password, d.pace.settings())
	if err := os.WriteFile(d.config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	// The environment is not for the demo: it has nothing to configure.
	cfg, problems := config.Load(d.config, nil, config.RoleAll)
	if config.Faults(problems) > 0 {
		return nil, fmt.Errorf("the demo's own configuration: %v", problems)
	}
	return cfg, nil
}

// freeAddress returns the preferred address where it is free, else one with
// another port.
func freeAddress(ctx context.Context, preferred string) (string, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", preferred)
	if err != nil {
		if listener, err = lc.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
			return "", err
		}
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

func hashOf(display [32]byte) chain.Hash { return chain.HashFromDisplay(display) }
