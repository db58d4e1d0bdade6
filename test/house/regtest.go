package house

import (
	"fmt"

	"purepool/bbprpc/litecoindtest"
)

// Regtest is a network that a house may serve beside its own: Litecoin's regression
// test chain, mined with jobs of block templates.
type Regtest struct {
	Port   string // address of its Stratum port
	Wallet string // the pool's address
	Start  string // difficulty that miners begin with
	Least  string // difficulty below which none is given or taken; empty is the program's
}

// Config is what [Options.Extra] needs for it. It ends in the table of the network,
// whose further keys may follow.
func (r Regtest) Config() string {
	least, easiest := "", ""
	if r.Least != "" {
		least, easiest = fmt.Sprintf("min_difficulty = %q\n", r.Least), fmt.Sprintf("easiest_difficulty = %q\n", r.Least)
	}
	return fmt.Sprintf(`
[[frontend.stratum]]
listen = %q
network = "regtest"
start_difficulty = %q
%s
[network.regtest]
mode = "template"
chain = "litecoin-regtest"
algorithm = "scrypt"
pool_address = %q
daemon_timeout = "3s"
%s`, r.Port, r.Start, least, r.Wallet, easiest)
}

// RegtestDaemon is what [Options.BackendExtra] needs for a daemon of the network
// regtest. It ends in the table of the daemon, whose further keys may follow.
func RegtestDaemon(n *litecoindtest.Node) string {
	e := n.Endpoint()
	entry := fmt.Sprintf("cookie_file = %q", e.CookieFile)
	if e.User != "" {
		entry = fmt.Sprintf("user = %q\npassword = %q", e.User, e.Password)
	}
	return fmt.Sprintf("[[network.regtest.daemon]]\nurl = %q\n%s\n", e.URL, entry)
}
