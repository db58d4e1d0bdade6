package role

import (
	"fmt"
	"io"
	"strings"
	"time"

	"purepool/bbprpc"
	"purepool/pool/settle"
)

// WriteAudit writes an audit for people; amounts are in coins.
func WriteAudit(w io.Writer, audit *settle.Audit) {
	verdict := "clean"
	if !audit.Clean {
		verdict = "NOT CLEAN"
	}
	fmt.Fprintf(w, "network %s at %s UTC: %s\n", audit.Network, audit.At.UTC().Format(time.DateTime), verdict)
	for _, check := range audit.Checks {
		if check.Faults == 0 {
			fmt.Fprintf(w, "  ok     %s\n", check.Name)
			continue
		}
		fmt.Fprintf(w, "  FAULT  %s: %d, such as: %s\n", check.Name, check.Faults, check.Detail)
	}
	wallet := "ok   "
	if audit.Wallet.Error != "" || audit.Wallet.Coverage == settle.Short {
		wallet = "FAULT"
	}
	fmt.Fprintf(w, "  %s  what is owed is %s", wallet, audit.Wallet.Coverage)
	if audit.Wallet.Error != "" {
		fmt.Fprintf(w, ": %s", strings.ReplaceAll(audit.Wallet.Error, "\n", " "))
	}
	fmt.Fprintln(w)
	t := &audit.Totals
	for _, row := range []struct {
		name     string
		satoshis int64
	}{
		{"shared out", t.Rewards},
		{"to be shared out", t.Immature},
		{"balances of miners", t.Miners},
		{"reserved for payments", t.Reserved},
		{"of it perhaps paid", t.Unknown},
		{"debts of miners", t.Debts},
		{"paid", t.Paid},
		{"network fees", t.NetFee},
		{"fees of the pool", t.Fee},
		{"of blocks without shares", t.Unclaimed},
		{"corrections", t.Corrected},
		{"wallet, spendable", audit.Wallet.Spendable},
		{"wallet, unconfirmed", audit.Wallet.Unconfirmed},
		{"wallet, immature", audit.Wallet.Immature},
		{"wallet lacks now", audit.Wallet.Missing},
	} {
		fmt.Fprintf(w, "  %-26s %20s\n", row.name, bbprpc.Amount(row.satoshis))
	}
	fmt.Fprintf(w, "  %-26s %20d\n  %-26s %20d\n", "entries in the journal", t.Journal, "shares in closed rounds", t.ClosedShares)
}
