package ledger_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/ledger/pgcluster"
)

// allowed says what each role may do on each table and view, and nothing else:
// a table that is not listed must be closed. "+" at the end of SELECT or INSERT
// means some columns only (see TestFrontendSeesOnlyItsColumns).
var allowed = map[string]map[string][]string{
	ledger.RoleFrontend: {
		"goose_db_version": {"SELECT"},
		"network":          {"SELECT"},
		"miner":            {"SELECT+", "INSERT+"},
		"worker":           {"SELECT+", "INSERT+"},
		"work":             {"SELECT+", "INSERT+"},
		"ban":              {"SELECT+"},
		"job":              {"SELECT+"},
	},
	ledger.RoleWeb: {
		"goose_db_version":         {"SELECT"},
		"pool_network":             {"SELECT"},
		"pool_miner":               {"SELECT"},
		"pool_worker":              {"SELECT"},
		"pool_share_minute":        {"SELECT"},
		"pool_share_hour":          {"SELECT"},
		"pool_share_day":           {"SELECT"},
		"pool_reject_hour":         {"SELECT"},
		"pool_network_minute":      {"SELECT"},
		"pool_block":               {"SELECT"},
		"pool_round":               {"SELECT"},
		"pool_tip":                 {"SELECT"},
		"pool_balance":             {"SELECT"},
		"pool_entry":               {"SELECT"},
		"pool_payment":             {"SELECT"},
		"pool_last_share":          {"SELECT"},
		"pool_chain_block":         {"SELECT"},
		"pool_rating":              {"SELECT"},
		"pool_network_hour":        {"SELECT"},
		"pool_network_day":         {"SELECT"},
		"pool_network_reject_hour": {"SELECT"},
		"pool_miner_recent":        {"SELECT"},
		"pool_network_recent":      {"SELECT"},
		"pool_round_total":         {"SELECT"},
		"pool_round_weight":        {"SELECT"},
		"pool_account":             {"SELECT"},
		"pool_payout":              {"SELECT"},
		"pool_transaction":         {"SELECT"},
	},
	ledger.RoleBackend: {
		"goose_db_version":    {"SELECT"},
		"network":             {"SELECT"},
		"miner":               {"SELECT", "INSERT", "UPDATE"},
		"worker":              {"SELECT", "INSERT", "UPDATE"},
		"work":                {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"share":               {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"share_solution":      {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"rejected_share":      {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"tip":                 {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"share_minute":        {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"share_hour":          {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"share_day":           {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"reject_hour":         {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"network_minute":      {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"round":               {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"block":               {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"payment":             {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"payment_item":        {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"account":             {"SELECT", "INSERT"},
		"balance":             {"SELECT"},
		"balance_fault":       {"SELECT"},
		"journal":             {"SELECT", "INSERT+"},
		"journal_line":        {"SELECT", "INSERT"},
		"audit_log":           {"SELECT", "INSERT"},
		"chain_block":         {"SELECT", "INSERT", "UPDATE"},
		"chain_watch":         {"SELECT", "INSERT", "UPDATE"},
		"job":                 {"SELECT", "INSERT", "DELETE"},
		"job_block":           {"SELECT", "INSERT", "DELETE"},
		"block_submission":    {"SELECT", "INSERT", "UPDATE"},
		"round_weight":        {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"late_window":         {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"miner_rating":        {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"payout":              {"SELECT", "INSERT", "UPDATE"},
		"consolidation":       {"SELECT", "INSERT", "UPDATE"},
		"payment_guard":       {"SELECT", "INSERT", "UPDATE"},
		"miner_merge":         {"SELECT", "INSERT", "UPDATE"},
		"wallet_decision":     {"SELECT", "INSERT"},
		"imported":            {"SELECT", "INSERT"},
		"stale_winner":        {"SELECT", "INSERT"},
		"ban":                 {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"schedule":            {"SELECT", "INSERT", "UPDATE"},
		"pool_last_share":     {"SELECT"},
		"pool_network_minute": {"SELECT"},
		"pool_network_hour":   {"SELECT"},
		"pool_block":          {"SELECT"},
		"pool_round":          {"SELECT"},
		"pool_round_total":    {"SELECT"},
		"pool_tip":            {"SELECT"},
		"pool_chain_block":    {"SELECT"},
		"pool_network_recent": {"SELECT"},
		"network_hour":        {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"network_day":         {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"network_reject_hour": {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"miner_recent":        {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"network_recent":      {"SELECT", "INSERT", "UPDATE", "DELETE"},
		"round_total":         {"SELECT", "INSERT", "UPDATE", "DELETE"},
	},
}

// statements are what is tried on each table. None finds a row to work on: what
// counts is whether the server lets it begin. first stands for a column.
func statements(table, first string) map[string]string {
	return map[string]string{
		"SELECT":   fmt.Sprintf("SELECT * FROM %s WHERE false", table),
		"INSERT":   fmt.Sprintf("INSERT INTO %[1]s OVERRIDING SYSTEM VALUE SELECT * FROM %[1]s WHERE false", table),
		"UPDATE":   fmt.Sprintf("UPDATE %[1]s SET %[2]s = NULL WHERE false", table, first),
		"DELETE":   fmt.Sprintf("DELETE FROM %s WHERE false", table),
		"TRUNCATE": fmt.Sprintf("TRUNCATE %s", table),
		"LOCK":     fmt.Sprintf("LOCK TABLE %s IN ACCESS EXCLUSIVE MODE", table),
	}
}

// denied says whether the server refused for want of a right.
func denied(t *testing.T, db *sqlx.DB, stmt string) bool {
	t.Helper()
	return pq.As(try(t, db, stmt), pqerror.InsufficientPrivilege) != nil
}

// try runs a statement and takes it back. The web's sessions are read-only on
// top of its rights, which are tried without that.
func try(t *testing.T, db *sqlx.DB, stmt string) error {
	t.Helper()
	tx, err := db.BeginTxx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec("SET TRANSACTION READ WRITE"); err != nil {
		t.Fatal(err)
	}
	_, err = tx.Exec(stmt)
	return err
}

// tables returns all tables and views of the schema with a column that may be
// updated, partitions too: a role must not get around a table by its parts.
func tables(t *testing.T, db *ledgertest.DB) map[string]string {
	t.Helper()
	var rows []struct{ Name, Column string }
	err := db.SQL(pgcluster.Superuser).Select(&rows, `
		SELECT c.relname AS name, a.attname AS column FROM pg_class c
		JOIN pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = (
			SELECT min(attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND attidentity = '')
		WHERE n.nspname = 'purepool' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')`)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, r := range rows {
		found[r.Name] = r.Column
	}
	if len(found) < 40 {
		t.Fatalf("only %d tables found", len(found))
	}
	return found
}

var sharePartition = regexp.MustCompile(`^share_n\d+_h\d+$`)

func TestEachRoleMayDoWhatIsListedAndNothingElse(t *testing.T) {
	db := ledgertest.New(t)
	write(t, db.Backend(), credited(t, 10, 1)) // so that there are partitions of share
	all := tables(t, db)
	for role, list := range allowed {
		conn := db.SQL(role)
		for table := range list {
			if _, there := all[table]; !there {
				t.Errorf("%s: listed table %s does not exist", role, table)
			}
		}
		for table, column := range all {
			rights := list[table]
			if sharePartition.MatchString(table) && role == ledger.RoleBackend {
				rights = []string{"SELECT", "INSERT"} // it copies shares into partitions
			}
			for verb, stmt := range statements(table, column) {
				may := slices.Contains(rights, verb)
				if verb == "LOCK" {
					// Who may change rows may lock them; that is all backend's.
					may = slices.Contains(rights, "UPDATE") || slices.Contains(rights, "DELETE")
				}
				err := try(t, conn, stmt)
				view := strings.HasPrefix(table, "pool_") || table == "balance_fault"
				switch {
				case may != (err == nil):
					t.Errorf("%s may %s %s: %v, want %v (%v)", role, verb, table, err == nil, may, err)
				case err != nil && !view && pq.As(err, pqerror.InsufficientPrivilege) == nil:
					t.Errorf("%s, %s %s: refused for another reason: %v", role, verb, table, err)
				}
			}
		}
	}
}

// columns returns the columns of a table on which a role has a right.
func columns(t *testing.T, db *ledgertest.DB, role, table, right string) string {
	t.Helper()
	var names []string
	err := db.SQL(pgcluster.Superuser).Select(&names, `
		SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
		AND has_column_privilege($2, attrelid, attnum, $3) ORDER BY attname`, table, role, right)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

func TestFrontendSeesOnlyItsColumns(t *testing.T) {
	db := ledgertest.New(t)
	for _, c := range []struct{ table, right, want string }{
		{"miner", "SELECT", "address enabled guid hash_target id network_id"},
		{"miner", "INSERT", "address network_id"},
		{"worker", "SELECT", "id miner_id name"},
		{"worker", "INSERT", "email miner_id name"},
		{"work", "SELECT", "hash_target id issued_at network_id worker_id"},
		{"job", "SELECT", "body issued_at network_id seq"},
		{"job", "INSERT", ""},
		{"job_block", "SELECT", ""},
		{"work", "INSERT", "agent hash_target id issued_at network_id os remote_ip thread_id worker_id"},
	} {
		if got := columns(t, db, ledger.RoleFrontend, c.table, c.right); got != c.want {
			t.Errorf("frontend may %s on %s (%s), want (%s)", c.right, c.table, got, c.want)
		}
	}
	conn := db.SQL(ledger.RoleFrontend)
	for _, stmt := range []string{
		"SELECT email FROM worker",
		"SELECT remote_ip FROM work",
		"SELECT created_at FROM miner",
		"INSERT INTO miner (network_id, address, enabled) VALUES (1, 'x', true)",
		"INSERT INTO miner (network_id, address, hash_target) VALUES (1, 'x', NULL)",
		"INSERT INTO miner (network_id, address, guid) VALUES (1, 'x', gen_random_uuid())",
		"INSERT INTO worker (id, miner_id, name) OVERRIDING SYSTEM VALUE VALUES (1, 1, 'x')",
		"INSERT INTO worker (miner_id, name) VALUES (1, 'x') RETURNING email",
		"INSERT INTO miner (network_id, address) VALUES (1, 'x') ON CONFLICT (network_id, address) DO UPDATE SET enabled = true",
		"SELECT FROM miner FOR UPDATE",
	} {
		if !denied(t, conn, stmt) {
			t.Errorf("frontend may: %s", stmt)
		}
	}
}

func TestBackendMayNotSetWhatTheJournalSetsItself(t *testing.T) {
	db := ledgertest.New(t)
	if got, want := columns(t, db, ledger.RoleBackend, "journal", "INSERT"), "block_id key kind network_id note payment_id reverses"; got != want {
		t.Errorf("backend may insert journal (%s), want (%s)", got, want)
	}
}

func TestViewsOfTheWebShowNoSecrets(t *testing.T) {
	db := ledgertest.New(t)
	var secrets []string
	err := db.SQL(pgcluster.Superuser).Select(&secrets, `
		SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE c.relnamespace = 'purepool'::regnamespace AND a.attnum > 0
		  AND has_column_privilege('purepool_web', c.oid, a.attnum, 'SELECT')
		  AND (a.attname ~ 'email|ip$|guid|agent|solution' OR a.atttypid IN ('inet'::regtype, 'cidr'::regtype))`)
	if err != nil {
		t.Fatal(err)
	}
	if len(secrets) > 0 {
		t.Errorf("the web may read %v", secrets)
	}
}

func TestNoRoleMayMakeOrChangeObjects(t *testing.T) {
	db := ledgertest.New(t)
	for _, role := range []string{ledger.RoleFrontend, ledger.RoleWeb, ledger.RoleBackend} {
		conn := db.SQL(role)
		for _, stmt := range []string{
			"CREATE TABLE mine (n int)",
			"CREATE TABLE public.mine (n int)",
			"CREATE TEMPORARY TABLE mine (n int)",
			"CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
			"CREATE SCHEMA mine",
			"CREATE ROLE mine",
			"ALTER TABLE miner ADD COLUMN mine int",
			"ALTER TABLE journal DISABLE TRIGGER ALL",
			"DROP TABLE miner",
			"DROP TRIGGER journal_balances ON journal",
			"SET ROLE purepool_owner",
			"SET SESSION AUTHORIZATION postgres",
			"ALTER ROLE purepool_frontend SUPERUSER",
			"SET session_replication_role = replica", // would switch triggers off
			"COPY (SELECT 1) TO PROGRAM 'true'",
			"COPY (SELECT 1) TO '/tmp/mine'",
			"SELECT pg_read_file('/etc/passwd')",
			"SELECT * FROM pg_authid",
			"SELECT lo_import('/etc/passwd')",
			"SELECT ensure_network('mine')",
			"SELECT attach_partition('share', 'mine', 'FROM (1) TO (2)')",
			"SELECT lock_partitions()",
		} {
			if !denied(t, conn, stmt) {
				t.Errorf("%s may: %s", role, stmt)
			}
		}
		// Not within a transaction.
		if _, err := conn.Exec("CREATE DATABASE mine"); pq.As(err, pqerror.InsufficientPrivilege) == nil && pq.As(err, pqerror.ReadOnlySQLTransaction) == nil {
			t.Errorf("%s may create databases: %v", role, err)
		}
		// Passing on what one may not pass on is only a warning.
		_, _ = conn.Exec("GRANT SELECT ON worker TO PUBLIC")
		if ledgertest.Value[bool](t, db, "SELECT has_table_privilege('public', 'worker', 'SELECT')") {
			t.Errorf("%s has opened a table to everybody", role)
		}
	}
}

func TestOnlyTheBackendMakesAndDropsPartitions(t *testing.T) {
	db := ledgertest.New(t)
	var functions []string
	err := db.SQL(pgcluster.Superuser).Select(&functions, `
		SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'purepool'::regnamespace`)
	if err != nil {
		t.Fatal(err)
	}
	backend := []string{
		"ensure_day_partitions(date,date)", "ensure_share_partitions(smallint,integer,integer)",
		"drop_day_partitions(text,date)", "drop_share_partitions(smallint,timestamp with time zone)",
		"share_partition_heights()", "settled_until(smallint)",
		"lock_rounds(smallint)", "share_rounds(smallint)", "lock_chain(smallint)", "lock_payments(smallint)", "books_home()",
	}
	for _, role := range []string{ledger.RoleFrontend, ledger.RoleWeb, ledger.RoleBackend, "public"} {
		for _, f := range functions {
			name := strings.TrimPrefix(f, "purepool.")
			may := ledgertest.Value[bool](t, db, "SELECT has_function_privilege($1, $2, 'EXECUTE')", role, "purepool."+name)
			if want := role == ledger.RoleBackend && slices.Contains(backend, name); may != want {
				t.Errorf("%s may execute %s: %v, want %v", role, name, may, want)
			}
		}
	}
	// A function that runs as its owner must not look names up where the caller
	// says, and the owner must not be a superuser.
	unsafe := ledgertest.Value[int](t, db, `
		SELECT count(*) FROM pg_proc WHERE pronamespace = 'purepool'::regnamespace AND prosecdef
		AND (proowner <> 'purepool_owner'::regrole OR NOT proconfig @> ARRAY['search_path=purepool, pg_temp'])`)
	if unsafe != 0 {
		t.Errorf("%d functions run as their owner without a fixed search path", unsafe)
	}
	if ledgertest.Value[bool](t, db, "SELECT rolsuper OR rolcanlogin OR rolcreaterole FROM pg_roles WHERE rolname = 'purepool_owner'") {
		t.Error("the owner may log in, or is more than an owner")
	}
}

func TestSessionsOfTheRolesAreBounded(t *testing.T) {
	db := ledgertest.New(t)
	for _, role := range []string{ledger.RoleFrontend, ledger.RoleWeb, ledger.RoleBackend} {
		for _, setting := range []string{"statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout"} {
			var value string
			if err := db.SQL(role).Get(&value, "SELECT current_setting($1)", setting); err != nil {
				t.Fatal(err)
			}
			if value == "0" {
				t.Errorf("%s has no %s", role, setting)
			}
		}
		if role == ledger.RoleBackend {
			continue
		}
		if limit := ledgertest.Value[int](t, db, "SELECT rolconnlimit FROM pg_roles WHERE rolname = $1", role); limit < 1 {
			t.Errorf("%s may take all connections", role)
		}
	}
	if _, err := db.SQL(ledger.RoleWeb).Exec("CREATE TABLE x (n int)"); pq.As(err, pqerror.ReadOnlySQLTransaction) == nil {
		t.Errorf("the web's sessions are not read-only: %v", err)
	}
}

func TestOthersCannotEnterTheDatabase(t *testing.T) {
	db := ledgertest.New(t)
	super := db.SQL(pgcluster.Superuser)
	super.MustExec(`DO $$ BEGIN CREATE ROLE stranger LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$`)
	if err := db.SQL("stranger").Ping(); pq.As(err, pqerror.InsufficientPrivilege) == nil {
		t.Fatalf("a stranger comes in: %v", err)
	}
}
