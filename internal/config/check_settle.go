package config

import (
	"os"
)

// checkSettlement looks for contradictions in what turns blocks into payments.
func (l *loader) checkSettlement(at, name string, n *Network) {
	s, in := &n.Settlement, join(at, "settlement")
	if s.Scheme != "pplns" && l.given(join(in, "pplns_window")) {
		l.fault(join(in, "pplns_window"), "contradicts scheme = %q: the window is for pplns", s.Scheme)
	}
	if s.Confirmations < s.CloseDepth {
		l.fault(join(in, "confirmations"), "%d is less than close_depth, %d: a block is shared out after its round has ended", s.Confirmations, s.CloseDepth)
	}
	const spendable = 101 // chain/consensus.h: COINBASE_MATURITY is 100
	if main := n.Chain == "biblepay-main" || (n.Chain == "" && name == "main"); main && s.Confirmations < spendable {
		l.warning(join(in, "confirmations"), "a coinbase can be spent after %d confirmations: with %d the wallet may lack what the books have shared out", spendable, s.Confirmations)
	}
	l.checkPayments(join(at, "payments"), n)
}

func (l *loader) checkPayments(in string, n *Network) {
	p := &n.Payments
	if p.RetryMin > p.RetryMax {
		l.fault(join(in, "retry_min"), "%s is longer than retry_max, %s", formatDuration(p.RetryMin), formatDuration(p.RetryMax))
	}
	if p.AbsentDelay <= n.DaemonTimeout {
		l.fault(join(in, "absent_delay"), "%s is not longer than daemon_timeout, %s: a payment that is being made could be sent again",
			formatDuration(p.AbsentDelay), formatDuration(n.DaemonTimeout))
	}
	if p.UnlockFor < n.DaemonTimeout && p.PassphraseFile != "" {
		l.warning(join(in, "unlock_for"), "%s is shorter than daemon_timeout, %s: the wallet may close before it has paid", formatDuration(p.UnlockFor), formatDuration(n.DaemonTimeout))
	}
	l.checkForeignFile(join(in, "passphrase_file"), p.PassphraseFile, "the pool's coins")
}

// checkForeignFile holds a file that only the backend may read to the rule for
// other roles' secrets.
func (l *loader) checkForeignFile(at string, path Path, what string) {
	if path == "" || (l.role != RoleFrontend && l.role != RoleWeb) {
		return
	}
	if file, err := os.Open(string(path)); err == nil {
		file.Close()
		l.fault(at, "%s gives access to %s, and the %s can read it: take the permission away or leave the key out", path, what, l.role)
	}
}
