package role

import (
	"log/slog"
	"reflect"

	"purepool/internal/config"
)

// plays lists the roles of this process.
func (p *process) plays() []config.Role {
	if p.role != config.RoleAll {
		return []config.Role{p.role}
	}
	return []config.Role{config.RoleFrontend, config.RoleBackend, config.RoleWeb}
}

// as is the process while it builds the parts of one of its roles: they log in
// that role's name.
func (p *process) as(r config.Role) *process {
	part := *p
	part.log = p.logs.For(r)
	return &part
}

// reload takes what can change while the process runs out of a configuration: the
// log levels, and the certificates, which are read from their files even where
// nothing else has changed. The rest waits for a restart, and the log says so.
func (p *process) reload(cfg *config.Config) {
	p.logs.Configure(cfg.Log)
	for _, again := range *p.reloads {
		if err := again(); err != nil {
			p.log.Error("certificate cannot be read again, the old one stays", slog.Any("error", err))
		}
	}
	p.log.Info("configuration read again", slog.Bool("restart_needed", restartNeeded(p.cfg, cfg)))
}

// restartNeeded reports whether anything has changed that reload leaves alone.
func restartNeeded(before, after *config.Config) bool {
	x, y := *before, *after
	x.Log, y.Log = config.Log{Format: x.Log.Format, Privacy: x.Log.Privacy}, config.Log{Format: y.Log.Format, Privacy: y.Log.Privacy}
	return !reflect.DeepEqual(x, y)
}
