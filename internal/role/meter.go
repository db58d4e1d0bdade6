package role

import (
	"purepool/internal/config"
	"purepool/internal/meter"
	"purepool/ledger"
)

// measure starts the metrics of what stands in the ledger and the wallets.
func (p *process) measure(store *ledger.BackendStore, ids map[string]int16, networks map[string]served) {
	opts := meter.Options{Logger: p.log, Registerer: p.registry}
	for _, name := range p.networks() {
		opts.Networks = append(opts.Networks, meter.Network{Name: name, ID: ids[name], Daemons: networks[name].daemons.Daemons()})
	}
	p.stack.run("meter", meter.New(opts, store.NumbersStore(), store.Books()).Run)
}

// folders are those that this process writes to, by what they are for.
func (p *process) folders() map[string]string {
	all := make(map[string]string)
	add := func(name, folder string) {
		if folder != "" {
			all[name] = folder
		}
	}
	if folder, ok := Embedded(&p.cfg.Queue); ok && p.role != config.RoleWeb {
		add("queue", folder)
	}
	if p.role == config.RoleFrontend || p.role == config.RoleAll {
		add("spool", string(p.cfg.Queue.SpoolDir))
		add("acme", string(p.cfg.Frontend.TLS.ACMECache))
	}
	if p.role == config.RoleBackend || p.role == config.RoleAll {
		add("state", string(p.cfg.Backend.StateDir))
	}
	return all
}
