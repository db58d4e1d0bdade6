package role

import (
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"

	"purepool/pool"
	"purepool/pool/vardiff"
	"purepool/stratum"
)

// stratum opens the ports for miners over TCP, where there are any. Those with
// TLS have the certificates of the HTTP listeners, which are read again when they
// change.
func (p *process) stratum(desk stratum.Desk, templates []stratum.Network, certificates *tls.Config, bans *pool.Bans) error {
	f := &p.cfg.Frontend
	if len(f.Stratum) == 0 {
		return nil
	}
	cfg := stratum.Config{
		Desk: desk, Networks: templates, Frontend: uint16(f.Number), //nolint:gosec // the configuration bounds it
		Limits: stratum.Limits{
			Connections: f.MaxConnections, PerIP: f.MaxConnectionsPerIP, PerIPRate: float64(f.RequestsPerSecondPerIP), LongLineRate: float64(f.LongLineRate),
		},
		Bans: bans, DrainTime: f.DrainTimeout, Logger: p.log, Registerer: p.registry,
	}
	var err error
	if cfg.SessionKey, err = sessionKey(filepath.Join(string(p.cfg.Queue.SpoolDir), "sessions.key")); err != nil {
		return err
	}
	for i := range f.Stratum {
		s := &f.Stratum[i]
		port := stratum.Port{Name: fmt.Sprintf("%s-%d", s.Network, i), Address: s.Listen, Network: s.Network, Dialect: stratum.Classic}
		if p.cfg.Network[s.Network].IsTemplate() {
			port.Dialect = stratum.Template
			port.StartDifficulty = float64(s.StartDifficulty)
			port.Vardiff = vardiff.Config{Min: float64(s.MinDifficulty), Max: float64(s.MaxDifficulty)}
		}
		if s.ProxyProtocol {
			port.Proxies = f.TrustedProxies
		}
		if s.TLS {
			port.TLS = certificates.Clone()
			port.TLS.NextProtos = nil // it speaks no HTTP
		}
		cfg.Ports = append(cfg.Ports, port)
	}
	server, err := stratum.New(cfg)
	if err != nil {
		return err
	}
	p.addresses.Stratum = make(map[string]net.Addr, len(cfg.Ports))
	for _, port := range cfg.Ports {
		p.addresses.Stratum[port.Name] = server.Addr(port.Name)
	}
	p.stack.run("stratum", server.Run)
	return nil
}
