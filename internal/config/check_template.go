package config

import "fmt"

// maxCoinbaseTag is how much of a coinbase's script the pool's name may take.
const maxCoinbaseTag = 32

func (l *loader) checkTemplate(at, name string, n *Network) {
	if len(n.CoinbaseTag) > maxCoinbaseTag {
		l.fault(join(at, "coinbase_tag"), "has %d bytes, at most %d fit into a coinbase", len(n.CoinbaseTag), maxCoinbaseTag)
	}
	if n.JobLifetime < n.JobRefresh {
		l.fault(join(at, "job_lifetime"), "%s is shorter than job_refresh, %s: jobs would be given out whose shares are refused",
			formatDuration(n.JobLifetime), formatDuration(n.JobRefresh))
	}
	for i := range l.cfg.Frontend.Stratum {
		p, port := &l.cfg.Frontend.Stratum[i], fmt.Sprintf("frontend.stratum[%d]", i)
		if p.Network != name {
			continue
		}
		if p.MinDifficulty < n.EasiestDifficulty {
			l.fault(join(port, "min_difficulty"), "%s is easier than easiest_difficulty of network %s, %s: its shares would be refused",
				p.MinDifficulty, name, n.EasiestDifficulty)
		}
		if p.MinDifficulty > p.MaxDifficulty {
			l.fault(join(port, "min_difficulty"), "%s is more than max_difficulty, %s", p.MinDifficulty, p.MaxDifficulty)
		}
	}
}

// Rules returns what getblocktemplate wants to hear of a template network.
func (n *Network) Rules() []string {
	switch {
	case len(n.TemplateRules) > 0:
		return n.TemplateRules
	case n.Chain == "litecoin-regtest":
		return []string{"mweb", "segwit"}
	case n.Chain == "bitcoin-regtest":
		return []string{"segwit"}
	}
	return nil
}

// IsTemplate reports whether the pool builds the network's blocks.
func (n *Network) IsTemplate() bool { return n.Mode == "template" }
