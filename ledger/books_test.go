package ledger_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
	"golang.org/x/sync/errgroup"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/ledger/pgcluster"
)

// books is a ledger with three accounts: 1 reward, 2 fee, 3 miner's, and 4
// the reward of another network.
func books(t *testing.T) (*ledgertest.DB, *sqlx.DB) {
	t.Helper()
	db := ledgertest.New(t)
	if _, err := db.Frontend().EnsureWorker(t.Context(), mainNet, someAddress, "rig", ""); err != nil {
		t.Fatal(err)
	}
	back := db.SQL(ledger.RoleBackend)
	back.MustExec("INSERT INTO account (network_id, kind, miner_id) VALUES (1, 'reward', NULL), (1, 'fee', NULL), (1, 'miner', 1), (2, 'reward', NULL)")
	return db, back
}

// post writes an entry with lines "(account, amount)" in one statement each.
func post(back *sqlx.DB, key string, lines ...string) error {
	tx, err := back.Beginx()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var entry int64
	if err := tx.Get(&entry, "INSERT INTO journal (network_id, kind, key) VALUES (1, 'correction', $1) RETURNING id", key); err != nil {
		return err
	}
	for _, group := range lines {
		_, err := tx.Exec("INSERT INTO journal_line (account_id, amount, entry_id) SELECT x.*, $1 FROM (VALUES "+group+") AS x (account, amount)", entry)
		if err != nil {
			return err
		}
	}
	return tx.Commit()
}

func TestBalancesFollowTheJournal(t *testing.T) {
	db, back := books(t)
	if err := post(back, "credit:1", "(1, -1000), (2, 10), (3, 990)"); err != nil {
		t.Fatal(err)
	}
	if err := post(back, "credit:2", "(1, -7), (3, 7)", "(2, -10), (1, 10)"); err == nil {
		t.Fatal("an account twice in an entry was taken")
	}
	if err := post(back, "credit:2", "(1, -7), (3, 7)"); err != nil {
		t.Fatal(err)
	}
	if got := ledgertest.Value[string](t, db, "SELECT string_agg(account_id || ':' || amount, ' ' ORDER BY account_id) FROM balance"); got != "1:-1007 2:10 3:997" {
		t.Errorf("balances %s", got)
	}
	if n := count(t, db, "balance_fault"); n != 0 {
		t.Errorf("%d faulty balances", n)
	}
	var web int64
	if err := db.SQL(ledger.RoleWeb).Get(&web, "SELECT amount FROM pool_balance WHERE miner_id = 1"); err != nil || web != 997 {
		t.Errorf("the miner sees %d (%v)", web, err)
	}
}

func TestUnbalancedEntryIsRefused(t *testing.T) {
	db, back := books(t)
	for name, lines := range map[string][]string{
		"one satoshi too many": {"(1, -1000), (3, 1001)"},
		"one line":             {"(1, -1000)"},
		"no lines":             {},
		"balanced at the end":  {"(1, -1000)", "(3, 1000)"}, // each statement must balance
		"zero":                 {"(1, 0), (3, 0)"},
		"beyond 64 bits":       {"(1, -9223372036854775807), (2, 9223372036854775807)", "(3, -9223372036854775807), (4, 9223372036854775807)"},
		"two networks":         {"(4, -5), (3, 5)"},
		"unknown account":      {"(99, -5), (3, 5)"},
	} {
		if err := post(back, name, lines...); !ledger.Refused(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if j, l, b := count(t, db, "journal"), count(t, db, "journal_line"), count(t, db, "balance"); j+l+b != 0 {
		t.Errorf("%d entries, %d lines, %d balances were left", j, l, b)
	}
}

func TestEntryHappensOnce(t *testing.T) {
	db, back := books(t)
	var group errgroup.Group
	won := make([]bool, 4)
	for i := range won {
		group.Go(func() error {
			err := post(back, "credit:block:12", "(1, -1000), (3, 1000)")
			won[i] = err == nil
			if err != nil && pq.As(err, pqerror.UniqueViolation) == nil {
				return err
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(fmt.Sprint(won), "true"); got != 1 {
		t.Errorf("it happened %d times", got)
	}
	if got := ledgertest.Value[int64](t, db, "SELECT amount FROM balance WHERE account_id = 3"); got != 1000 {
		t.Errorf("the miner has %d", got)
	}
}

func TestLinesCannotBeAddedLater(t *testing.T) {
	_, back := books(t)
	if err := post(back, "credit:1", "(1, -1000), (3, 1000)"); err != nil {
		t.Fatal(err)
	}
	_, err := back.Exec("INSERT INTO journal_line (entry_id, account_id, amount) VALUES (1, 2, 5), (1, 4, -5)")
	if pq.As(err, pqerror.CheckViolation) == nil {
		t.Errorf("adding lines: %v", err)
	}
	// Nor by having the entry checked before its time.
	tx := back.MustBegin()
	defer tx.Rollback()
	tx.MustExec("INSERT INTO journal (network_id, kind, key) VALUES (1, 'correction', 'early')")
	tx.MustExec("INSERT INTO journal_line (entry_id, account_id, amount) VALUES ((SELECT max(id) FROM journal), 1, -1), ((SELECT max(id) FROM journal), 3, 1)")
	tx.MustExec("SET CONSTRAINTS ALL IMMEDIATE")
	if _, err := tx.Exec("INSERT INTO journal_line (entry_id, account_id, amount) VALUES ((SELECT max(id) FROM journal), 2, 5)"); pq.As(err, pqerror.CheckViolation) == nil {
		t.Errorf("adding a line after the check: %v", err)
	}
}

func TestJournalIsNeverChanged(t *testing.T) {
	db, back := books(t)
	if err := post(back, "credit:1", "(1, -1000), (3, 1000)"); err != nil {
		t.Fatal(err)
	}
	back.MustExec("INSERT INTO audit_log (who, action, why) VALUES ('op', 'x', 'y')")
	owner := db.SQL(pgcluster.Superuser) // the owner and the superuser too
	owner.MustExec("SELECT 1")
	for _, conn := range []*sqlx.DB{back, owner} {
		for _, table := range []string{"journal", "journal_line", "audit_log"} {
			for _, stmt := range []string{"UPDATE %s SET note = 'x'", "DELETE FROM %s", "TRUNCATE %s CASCADE", "DELETE FROM %s WHERE false"} {
				stmt = fmt.Sprintf(stmt, table)
				stmt = strings.ReplaceAll(stmt, "journal_line SET note = 'x'", "journal_line SET amount = 1")
				stmt = strings.ReplaceAll(stmt, "audit_log SET note = 'x'", "audit_log SET why = 'x'")
				if _, err := conn.Exec(stmt); pq.As(err, pqerror.InsufficientPrivilege) == nil {
					t.Errorf("%s: %v", stmt, err)
				}
			}
		}
	}
	if n := count(t, db, "journal_line"); n != 2 {
		t.Errorf("%d lines are left", n)
	}
}

func TestBlockIsKnownByItsHash(t *testing.T) {
	_, back := books(t)
	hash := proof(1)
	insert := func(height int, hash [32]byte) error {
		_, err := back.Exec("INSERT INTO block (network_id, height, hash, block_time) VALUES (1, $1, '\\x"+fmt.Sprintf("%x", hash)+"', now())", height)
		return err
	}
	if err := insert(10, hash); err != nil {
		t.Fatal(err)
	}
	if err := insert(10, proof(2)); err != nil {
		t.Errorf("another block of that height: %v", err)
	}
	if err := insert(10, hash); pq.As(err, pqerror.UniqueViolation) == nil {
		t.Errorf("the same block again: %v", err)
	}
}

func TestNetworkHasOneOpenRound(t *testing.T) {
	_, back := books(t)
	_, err := back.Exec("INSERT INTO round (network_id, from_at) VALUES (1, now())")
	if pq.As(err, pqerror.UniqueViolation) == nil {
		t.Errorf("a second open round: %v", err)
	}
}
