package hosts

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"purepool/bbprpc"
	"purepool/test/house"
)

// query asks the database as its administrator, on its own server.
func (p *pool) query(sql string) (rows []string, err error) {
	return p.data.psql(sql)
}

// psql runs a statement; a row is a line, its columns are separated by |.
func (h *host) psql(sql string) ([]string, error) {
	if h.leader == 0 {
		return nil, fmt.Errorf("%s is off", h.name)
	}
	cmd := h.command(h.t.Context(), "runuser", "-u", "postgres", "--", "psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-f", "-", "purepool")
	cmd.Stdin = strings.NewReader("SET search_path = purepool;\n" + sql)
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("psql: %w\n%s", err, out)
	}
	if len(out) == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"), nil
}

// number runs a query that returns one number, -1 while the database is away.
func (p *pool) number(sql string) int64 {
	rows, err := p.query(sql)
	if err != nil || len(rows) != 1 {
		return -1
	}
	n, err := strconv.ParseInt(rows[0], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// missing counts those of the proofs that are not in the ledger, -1 while the
// database is away.
func (p *pool) missing(proofs []string) int64 {
	if len(proofs) == 0 {
		return 0
	}
	return p.number(fmt.Sprintf(`SELECT count(*) FROM unnest(string_to_array('%s', ',')) AS p(proof)
		WHERE NOT EXISTS (SELECT FROM share s WHERE s.proof = decode(p.proof, 'hex'))`, strings.Join(proofs, ",")))
}

// wantEveryShareOnce checks the promise: what was answered ok is in the ledger
// once, and credited, since all of it was honest.
func (p *pool) wantEveryShareOnce(t *testing.T, l *load) {
	t.Helper()
	proofs := l.Until(time.Now())
	p.eventually(t, "every share that was answered ok is in the ledger", 30*time.Second, func() bool { return p.missing(proofs) == 0 })
	if n := p.number(`SELECT count(*) FROM (SELECT FROM share GROUP BY proof HAVING count(*) > 1) AS twice`); n != 0 {
		t.Errorf("%d shares stand in the ledger twice", n)
	}
	if off := p.number(`SELECT (SELECT coalesce(sum(shares), 0) FROM share_minute) - (SELECT count(*) FROM share)`); off != 0 {
		t.Errorf("roll-ups count %d shares more than the ledger holds", off)
	}
	rows, err := p.query(`SELECT reason, count(*) FROM rejected_share WHERE reason <> 'BibleHashAlreadyKnown' GROUP BY 1`)
	must(t, err)
	for _, row := range rows {
		t.Errorf("honest shares were rejected: %s", row)
	}
}

// wantPaidOnce waits until what is owed is paid, and compares the books with the
// wallet's own, payment by payment; then it asks for an audit, as an operator does.
func (p *pool) wantPaidOnce(t *testing.T) {
	t.Helper()
	p.eventually(t, "blocks are shared out and payments are confirmed", time.Minute, func() bool {
		return p.number(`SELECT (SELECT count(*) FROM block WHERE state = 'immature' AND main) +
			(SELECT count(*) FROM payment WHERE state NOT IN ('confirmed', 'cancelled')) +
			(SELECT count(*) FROM account a JOIN balance b ON b.account_id = a.id WHERE a.kind = 'miner' AND b.amount >= 50000000)`) == 0 &&
			p.number(`SELECT count(*) FROM payment`) > 0
	})
	sent := house.SentBy(t, bbprpc.Endpoint{URL: "http://" + p.wallet, User: rpcUser, Password: rpcPassword})
	paid, transactions := sent.Paid, sent.Transactions
	rows, err := p.query(`SELECT p.tag, encode(p.txid, 'hex'), i.address, i.amount
		FROM payment p JOIN payment_item i ON i.payment_id = p.id WHERE i.state = 'paid'`)
	must(t, err)
	tags := map[string]bool{}
	for _, row := range rows {
		columns := strings.Split(row, "|")
		amount, err := strconv.ParseInt(columns[3], 10, 64)
		must(t, err)
		if transactions[columns[0]].String() != columns[1] {
			t.Errorf("payment %s is %s in the books, %s in the wallet", columns[0], columns[1], transactions[columns[0]])
		}
		paid[columns[2]] -= amount
		tags[columns[0]] = true
	}
	for address, difference := range paid {
		if difference > 0 {
			t.Errorf("%s was paid %d satoshis more than the books say", address, difference)
		}
	}
	if len(tags) == 0 || len(tags) != len(transactions) {
		t.Errorf("the wallet made %d payments, the books know %d", len(transactions), len(tags))
	}
	p.wantCleanAudit(t)
	t.Logf("%d payments, each made once", len(tags))
}

func (p *pool) wantCleanAudit(t *testing.T) {
	t.Helper()
	out := p.backend.run("purepool-admin", "audit", "--json")
	var audits []struct {
		Clean  bool
		Wallet struct{ Coverage string }
	}
	must(t, json.Unmarshal([]byte(out), &audits))
	if len(audits) != 1 || !audits[0].Clean || audits[0].Wallet.Coverage != "covered" {
		t.Errorf("audit: %s", out)
	}
}
