package web

import (
	"html/template"
	"strings"
	"time"

	"purepool/ledger"
)

// Rows of long tables of a miner's page are written here and not by the template:
// everybody who mines looks at his own, and the template takes four times longer.
// What is not made of digits and words of this package is escaped.

// entriesHTML writes movements of a balance.
func entriesHTML(entries []ledger.Entry, now time.Time) template.HTML {
	var b strings.Builder
	for _, e := range entries {
		class := "n"
		if e.Amount < 0 {
			class = "n out"
		}
		write(&b, "<tr><td>", string(whenHTML(e.At, now, "")), "</td><td>", template.HTMLEscapeString(entryText(e)),
			`</td><td class="`, class, `">`, string(coinsHTML(e.Amount)), "</td></tr>")
	}
	return template.HTML(b.String()) //nolint:gosec // escaped above
}

// minerPaymentsHTML writes payments to a miner.
func minerPaymentsHTML(payments []ledger.MinerPayment, now time.Time) template.HTML {
	var b strings.Builder
	for _, p := range payments {
		write(&b, "<tr><td>", string(whenHTML(p.CreatedAt, now, "")), "</td><td>", string(txid(p.TxID)), "</td><td>",
			template.HTMLEscapeString(paymentState(p.State, p.ItemState)), `</td><td class="n">`, string(coinsHTML(p.Amount)), "</td></tr>")
	}
	return template.HTML(b.String()) //nolint:gosec // escaped above
}

func write(b *strings.Builder, parts ...string) {
	for _, p := range parts {
		b.WriteString(p)
	}
}
