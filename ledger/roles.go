package ledger

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/lib/pq"
)

// The database roles. The owner owns and cannot log in.
const (
	RoleOwner    = "purepool_owner"
	RoleFrontend = "purepool_frontend"
	RoleBackend  = "purepool_backend"
	RoleWeb      = "purepool_web"
)

// ErrBadPassword: a role's password holds something else than printable ASCII.
var ErrBadPassword = errors.New("a role's password must be printable ASCII")

// roleSettings bound what a role can hold up, also when it is in foreign hands:
// no statement, wait or open transaction without an end, and not all of the
// server's connections.
var roleSettings = []struct {
	role  string
	limit int // connections
	set   map[string]string
}{
	{RoleFrontend, 60, map[string]string{
		"statement_timeout": "15s", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "15s",
	}},
	{RoleBackend, -1, map[string]string{
		"statement_timeout": "5min", "lock_timeout": "1min", "idle_in_transaction_session_timeout": "1min",
	}},
	{RoleWeb, 30, map[string]string{
		"statement_timeout": "15s", "lock_timeout": "5s", "idle_in_transaction_session_timeout": "15s",
		"default_transaction_read_only": "on",
	}},
}

// createRoles creates the roles and the schema, and closes the database to
// everybody else. Roles belong to the whole server: two databases share them.
func createRoles(ctx context.Context, conn *sql.Conn, opts MigrateOptions) error {
	for _, role := range []string{RoleOwner, RoleFrontend, RoleBackend, RoleWeb} {
		login := "LOGIN"
		if role == RoleOwner {
			login = "NOLOGIN"
		}
		// Another database of this server may be doing the same right now.
		stmt := fmt.Sprintf(`DO $$ BEGIN
			IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '%[1]s') THEN CREATE ROLE %[1]s %[2]s; END IF;
			EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
			END $$`, role, login)
		if _, err := conn.ExecContext(ctx, stmt); err != nil {
			return fmt.Errorf("role %s: %w", role, err)
		}
	}
	if err := setRoles(ctx, conn, opts); err != nil {
		return err
	}
	return closeDatabase(ctx, conn)
}

// setRoles sets limits and passwords, where they are not so already: a second
// run changes nothing, and needs no more rights than reading.
func setRoles(ctx context.Context, conn *sql.Conn, opts MigrateOptions) error {
	passwords := map[string]string{
		RoleFrontend: opts.FrontendPassword, RoleBackend: opts.BackendPassword, RoleWeb: opts.WebPassword,
	}
	for _, r := range roleSettings {
		stmt := fmt.Sprintf(`DO $$ DECLARE have text[]; BEGIN
			SELECT coalesce(rolconfig, '{}') INTO have FROM pg_roles WHERE rolname = '%[1]s';
			IF NOT have @> ARRAY['search_path=%[2]s'] THEN ALTER ROLE %[1]s SET search_path = %[2]s; END IF;
			IF NOT have @> ARRAY['TimeZone=UTC'] THEN ALTER ROLE %[1]s SET "TimeZone" = 'UTC'; END IF;
			IF (SELECT rolconnlimit <> %[3]d FROM pg_roles WHERE rolname = '%[1]s') THEN ALTER ROLE %[1]s CONNECTION LIMIT %[3]d; END IF;
			`, r.role, schema, r.limit)
		for name, value := range r.set {
			stmt += fmt.Sprintf(`IF NOT have @> ARRAY['%[2]s=%[3]s'] THEN ALTER ROLE %[1]s SET %[2]s = '%[3]s'; END IF;
			`, r.role, name, value)
		}
		if _, err := conn.ExecContext(ctx, stmt+"END $$"); err != nil {
			return fmt.Errorf("settings of %s: %w", r.role, err)
		}
		if passwords[r.role] == "" {
			continue
		}
		// Only the verifier travels: a password would stand in server logs.
		verifier, err := scramVerifier(passwords[r.role])
		if err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, "ALTER ROLE "+r.role+" PASSWORD "+pq.QuoteLiteral(verifier)); err != nil {
			return fmt.Errorf("password of %s: %w", r.role, err)
		}
	}
	return nil
}

// closeDatabase makes the schema and takes from PUBLIC the right to connect and
// to make temporary tables.
func closeDatabase(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, `DO $$
		DECLARE db text := current_database();
		BEGIN
			IF NOT pg_has_role(current_user, 'purepool_owner', 'MEMBER') THEN
				EXECUTE format('GRANT purepool_owner TO %I', current_user);
			END IF;
			CREATE SCHEMA IF NOT EXISTS purepool AUTHORIZATION purepool_owner;
			EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC, purepool_frontend, purepool_backend, purepool_web', db);
			EXECUTE format('GRANT CONNECT ON DATABASE %I TO purepool_owner, purepool_frontend, purepool_backend, purepool_web', db);
		END $$`)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMigrateRights, err)
	}
	// Taking away what one may not take away is only a warning to Postgres.
	var open bool
	err = conn.QueryRowContext(ctx, `SELECT bool_or(has_database_privilege(r, current_database(), 'TEMPORARY'))
		OR NOT bool_and(has_database_privilege(r, current_database(), 'CONNECT'))
		FROM unnest(ARRAY['purepool_frontend', 'purepool_backend', 'purepool_web']) AS r`).Scan(&open)
	if err != nil {
		return err
	}
	if open {
		return fmt.Errorf("rights on the database could not be set: %w", ErrMigrateRights)
	}
	return nil
}

// scramVerifier returns what Postgres stores for a password (RFC 5803):
// SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey.
func scramVerifier(password string) (string, error) {
	for _, c := range []byte(password) {
		if c < 0x20 || c > 0x7e {
			return "", ErrBadPassword
		}
	}
	const iterations = 4096
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", err
	}
	sign := func(key []byte, text string) []byte {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(text))
		return mac.Sum(nil)
	}
	stored := sha256.Sum256(sign(salted, "Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(stored[:]), b64(sign(salted, "Server Key"))), nil
}
