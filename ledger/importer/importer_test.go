package importer_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"

	"purepool/ledger"
	"purepool/ledger/importer"
	"purepool/ledger/ledgertest"
)

var operator = ledger.Reason{Who: "tester", Why: "moving house"}

// oldPool is the original's database, with its schema and a small pool in it.
func oldPool(t *testing.T) (dsn string, db *sqlx.DB) {
	t.Helper()
	script, err := os.ReadFile("testdata/original.sql")
	if err != nil {
		t.Fatal(err)
	}
	empty := ledgertest.NewEmpty(t)
	db, err = sqlx.Open("postgres", empty.Super())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.MustExec(string(script))
	return empty.Super(), db
}

type house struct {
	t     *testing.T
	db    *ledgertest.DB
	books *ledger.Books
	opts  importer.Options
}

func newHouse(t *testing.T, dsn string) *house {
	t.Helper()
	db := ledgertest.New(t)
	store := db.Backend()
	networks, err := store.Networks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &house{t, db, store.Books(), importer.Options{DSN: dsn, Networks: networks, By: operator}}
}

func (h *house) run() importer.Report {
	h.t.Helper()
	report, err := importer.Run(h.t.Context(), h.books, h.opts)
	if err != nil {
		h.t.Fatal(err)
	}
	return report
}

func (h *house) count(query string) int {
	h.t.Helper()
	return ledgertest.Value[int](h.t, h.db, query)
}

// balance is a miner's in satoshis, by its address.
func (h *house) balance(address string) int64 {
	h.t.Helper()
	return ledgertest.Value[int64](h.t, h.db, `SELECT coalesce((SELECT b.amount FROM balance b JOIN account a ON a.id = b.account_id
		JOIN miner m ON m.id = a.miner_id WHERE a.kind = 'miner' AND m.address = $1), 0)`, address)
}

func (h *house) wantCleanBooks() {
	h.t.Helper()
	for _, id := range h.opts.Networks {
		audit, err := h.books.Audit(h.t.Context(), id, ledger.AuditOptions{})
		if err != nil {
			h.t.Fatal(err)
		}
		for _, c := range audit.Checks {
			if c.Faults > 0 {
				h.t.Errorf("%s: %s", c.Name, c.Detail)
			}
		}
	}
}

func TestBalancesOfTheOriginalAreCarriedOverToTheSatoshi(t *testing.T) {
	dsn, _ := oldPool(t)
	h := newHouse(t, dsn)
	report := h.run()
	for address, want := range map[string]int64{
		"BAlice1111111111111111111111111111": 100_100_010_000, "BBob222222222222222222222222222222": 0,
		"BCarol3333333333333333333333333333": 0, "yDave44444444444444444444444444444": 750_000_000,
		"BErin5555555555555555555555555555": -10_000_000_000,
	} {
		if got := h.balance(address); got != want {
			t.Errorf("%s has %d satoshis, want %d", address, got, want)
		}
	}
	main, test := report.Networks[0], report.Networks[1]
	if main.Miners != 4 || main.NewMiners != 4 || main.NewPayments != 3 || main.Blocks != 2 || main.Height != 30003 ||
		main.Earned != 310_133_340_000 || main.Paid != 220_033_330_000 || main.Balances != main.Earned-main.Paid || main.Opened != main.Earned {
		t.Errorf("%+v", main)
	}
	if test.Miners != 1 || test.Balances != 750_000_000 || test.Payments != 0 {
		t.Errorf("%+v", test)
	}
	// The public identifiers stand in the coinbases of work that is out.
	if n := h.count(`SELECT count(*) FROM miner WHERE guid = '22222222-2222-4222-8222-222222222222' AND NOT enabled AND created_at = '2018-03-02 10:00+00'`); n != 1 {
		t.Error("Bob is not who he was")
	}
	if n := h.count(`SELECT count(*) FROM worker`); n != 4 { // a double and a nameless one less
		t.Errorf("%d workers", n)
	}
	if n := h.count(`SELECT count(*) FROM payment WHERE state = 'confirmed' AND txid = decode(repeat('ab', 32), 'hex') AND created_at = '2018-03-03 19:00+00'`); n != 1 {
		t.Error("Bob's payment is not in the history")
	}
	notes := strings.Join(report.Notes, "\n")
	for _, want := range []string{"BErin5555555555555555555555555555 was paid more than it earned", "sum to -100.00000000", "has no transaction id", "has no name"} {
		if !strings.Contains(notes, want) {
			t.Errorf("%q is missing in:\n%s", want, notes)
		}
	}
	if n := h.count(`SELECT count(*) FROM audit_log WHERE action = 'import books' AND why = 'moving house'`); n != 1 {
		t.Errorf("%d audit records", n)
	}
	h.wantCleanBooks()
}

func TestImportingAgainTakesOnlyWhatHasComeSince(t *testing.T) {
	dsn, old := oldPool(t)
	h := newHouse(t, dsn)
	h.run()
	entries := h.count(`SELECT count(*) FROM journal`)
	again := h.run()
	for _, n := range again.Networks {
		if n.NewMiners+n.NewWorkers+n.NewPayments != 0 || n.Opened != 0 {
			t.Errorf("taken over twice: %+v", n)
		}
	}
	if n := h.count(`SELECT count(*) FROM journal`); n != entries {
		t.Errorf("%d entries, before %d", n, entries)
	}
	old.MustExec(`INSERT INTO puretransaction_transaction (inserted_at, network, note, internal_note, amount, category, tx, miner_id) VALUES
		(now(), 'main', '', '', 0.0001, 'MS', '', '11111111-1111-4111-8111-111111111111'),
		(now(), 'main', '', '', -1001.0000, 'TX', repeat('ef', 32), '11111111-1111-4111-8111-111111111111')`)
	later := h.run()
	if n := later.Networks[0]; n.NewPayments != 1 || n.Opened != 10_000 {
		t.Errorf("%+v", n)
	}
	if got := h.balance("BAlice1111111111111111111111111111"); got != 20_000 {
		t.Errorf("Alice has %d satoshis", got)
	}
	h.wantCleanBooks()
}

func TestDryRunReportsAndWritesNothing(t *testing.T) {
	dsn, _ := oldPool(t)
	h := newHouse(t, dsn)
	h.opts.DryRun = true
	dry := h.run()
	if n := h.count(`SELECT (SELECT count(*) FROM miner) + (SELECT count(*) FROM journal) + (SELECT count(*) FROM imported) + (SELECT count(*) FROM audit_log)`); n != 0 {
		t.Errorf("%d rows after a dry run", n)
	}
	h.opts.DryRun = false
	real := h.run()
	if !dry.DryRun || !slices.Equal(dry.Networks, real.Networks) {
		t.Errorf("the dry run promised %+v, the real one did %+v", dry.Networks, real.Networks)
	}
}

func TestMinerWhoIsHereAlreadyKeepsHisPlaceAndGetsHisBalance(t *testing.T) {
	dsn, _ := oldPool(t)
	h := newHouse(t, dsn)
	worker, err := h.db.Frontend().EnsureWorker(t.Context(), h.opts.Networks["main"], "BAlice1111111111111111111111111111", "rig1", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.books.Correct(t.Context(), worker.Miner.ID, 5, "k", operator); err != nil {
		t.Fatal(err)
	}
	report := h.run()
	if got := h.balance("BAlice1111111111111111111111111111"); got != 100_100_010_005 {
		t.Errorf("Alice has %d satoshis", got)
	}
	if !strings.Contains(strings.Join(report.Notes, "\n"), "BAlice1111111111111111111111111111 mines here already") || report.Networks[0].NewMiners != 3 {
		t.Errorf("%+v", report)
	}
}

func TestBooksThatDoNotFitAreRefusedWhole(t *testing.T) {
	for _, c := range []struct{ name, spoil, want string }{
		{"too fine", `ALTER TABLE puretransaction_transaction ALTER amount TYPE numeric(20, 9); UPDATE puretransaction_transaction SET amount = 1.000000001 WHERE id = 1`, "no whole number of satoshis"},
		{"no number", `ALTER TABLE puretransaction_transaction ALTER amount TYPE double precision; UPDATE puretransaction_transaction SET amount = 'NaN' WHERE id = 1`, `"NaN" is no number`},
		{"too much", `ALTER TABLE puretransaction_transaction ALTER amount TYPE numeric; UPDATE puretransaction_transaction SET amount = 1e12 WHERE id = 1`, "more than there are"},
		{"payment that gives", `UPDATE puretransaction_transaction SET amount = 1 WHERE id = 3`, "is a payment that gives"},
		{"another network's", `UPDATE puretransaction_transaction SET network = 'test' WHERE id = 1`, "belongs to a miner of network main"},
		{"unknown network", `UPDATE miner_miner SET network = 'foo' WHERE network = 'test'; UPDATE puretransaction_transaction SET network = 'foo' WHERE network = 'test'`, `network "foo" of the original is not configured here`},
		{"blocks to be shared out", `UPDATE block_block SET process_status = 'BP' WHERE height = 30001`, "1 pool blocks of network main are not shared out"},
		{"another database", `DROP TABLE block_block`, "block_block"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dsn, old := oldPool(t)
			old.MustExec(c.spoil)
			h := newHouse(t, dsn)
			_, err := importer.Run(t.Context(), h.books, h.opts)
			if err == nil || !strings.Contains(err.Error(), c.want) || c.name != "another database" && !errors.Is(err, ledger.ErrImport) {
				t.Fatalf("%v, want %q", err, c.want)
			}
			if n := h.count(`SELECT (SELECT count(*) FROM miner) + (SELECT count(*) FROM journal) + (SELECT count(*) FROM imported)`); n != 0 {
				t.Errorf("%d rows were written", n)
			}
		})
	}
}

func TestNetworksAndBlocksMayBeLeftBehind(t *testing.T) {
	dsn, old := oldPool(t)
	old.MustExec(`UPDATE block_block SET process_status = 'OP' WHERE height = 30001`)
	h := newHouse(t, dsn)
	h.opts.Skip, h.opts.Unfinished = []string{"test"}, true
	report := h.run()
	if len(report.Networks) != 1 || !strings.Contains(strings.Join(report.Notes, "\n"), "their rewards stay with the pool") {
		t.Errorf("%+v", report)
	}
	h.wantCleanBooks()
}

func TestTheOriginalIsOnlyRead(t *testing.T) {
	dsn, old := oldPool(t)
	var before, after string
	state := `SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM puretransaction_transaction t`
	if err := old.Get(&before, state); err != nil {
		t.Fatal(err)
	}
	newHouse(t, dsn).run()
	if err := old.Get(&after, state); err != nil || before != after {
		t.Errorf("the original has changed (%v)", err)
	}
}
