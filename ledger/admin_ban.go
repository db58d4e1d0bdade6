package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
)

// Ban keeps somebody away from all frontends: an address, a network of
// addresses, or a miner.
type Ban struct {
	ID      int64
	Prefix  netip.Prefix // invalid: a miner's
	MinerID int64        // 0: an address's
	GUID    uuid.UUID    // of the miner
	Miner   string       // his address, for the operator
	Network string       // of the miner, for the operator
	Until   time.Time    // zero: until it is removed
	MadeAt  time.Time
	Who     string
	Why     string
}

// ErrBanned: there is such a ban already; remove it first.
var ErrBanned = errors.New("there is such a ban already: remove it first")

// ErrNoSuchBan: no ban has this number.
var ErrNoSuchBan = errors.New("no such ban")

// AddBan writes a ban down, with an audit record. Frontends apply it within
// seconds. A ban that is over makes room for the new one.
func (s *BackendStore) AddBan(ctx context.Context, ban Ban, by Reason) (id int64, err error) {
	if by.Why == "" {
		return 0, errors.New("ledger: ban: a reason is needed")
	}
	var prefix, miner, until any
	if ban.Prefix.IsValid() {
		prefix = ban.Prefix.Masked().String()
	}
	if ban.MinerID != 0 {
		miner = ban.MinerID
	}
	if !ban.Until.IsZero() {
		until = storedTime(ban.Until)
	}
	err = s.Books().inTx(ctx, "ban", func(ctx context.Context, tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM ban WHERE until_at <= now() AND (prefix = CAST($1 AS cidr) OR miner_id = $2)`, prefix, miner)
		if err != nil {
			return err
		}
		err = tx.GetContext(ctx, &id, `INSERT INTO ban (prefix, miner_id, until_at, who, why) VALUES (CAST($1 AS cidr), $2, $3, $4, $5)
			ON CONFLICT DO NOTHING RETURNING id`, prefix, miner, until, freeText(by.Who, 100), freeText(by.Why, 1000))
		if errors.Is(err, sql.ErrNoRows) {
			return ErrBanned
		}
		if err != nil {
			return err
		}
		return logChange(ctx, tx, by, "add ban", map[string]any{"ban_id": id, "prefix": prefix, "miner_id": ban.MinerID, "until": until})
	})
	return id, err
}

// RemoveBan ends a ban, with an audit record. ErrNoSuchBan.
func (s *BackendStore) RemoveBan(ctx context.Context, id int64, by Reason) error {
	return s.Books().inTx(ctx, "remove ban", func(ctx context.Context, tx *sqlx.Tx) error {
		var what string
		err := tx.GetContext(ctx, &what, `DELETE FROM ban WHERE id = $1 RETURNING coalesce(prefix::text, 'miner ' || miner_id)`, id)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("ban %d: %w", id, ErrNoSuchBan)
		}
		if err != nil {
			return err
		}
		return logChange(ctx, tx, by, "remove ban", map[string]any{"ban_id": id, "of": what})
	})
}

// Bans lists all bans, also those that are over, the newest first.
func (s *BackendStore) Bans(ctx context.Context) ([]Ban, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	return selectBans(ctx, s.conn, `
		SELECT b.id, b.prefix::text, coalesce(b.miner_id, 0), m.guid, coalesce(m.address, ''), coalesce(n.name, ''), b.until_at, b.made_at, b.who, b.why
		FROM ban b LEFT JOIN miner m ON m.id = b.miner_id LEFT JOIN network n ON n.id = m.network_id ORDER BY b.id DESC`)
}

// Bans lists the bans that hold now.
func (s *FrontendStore) Bans(ctx context.Context) ([]Ban, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	return selectBans(ctx, s.conn, `
		SELECT b.id, b.prefix::text, coalesce(b.miner_id, 0), m.guid, coalesce(m.address, ''), coalesce(n.name, ''), b.until_at, 'epoch'::timestamptz, '', ''
		FROM ban b LEFT JOIN miner m ON m.id = b.miner_id LEFT JOIN network n ON n.id = m.network_id
		WHERE b.until_at IS NULL OR b.until_at > now()`)
}

func selectBans(ctx context.Context, c *conn, query string) (list []Ban, err error) {
	rows, err := c.db.QueryContext(ctx, query)
	err = eachRow(ctx, rows, err, "list bans", func() error {
		var b Ban
		var prefix sql.NullString
		var until sql.NullTime
		var guid uuid.NullUUID
		if err := rows.Scan(&b.ID, &prefix, &b.MinerID, &guid, &b.Miner, &b.Network, &until, &b.MadeAt, &b.Who, &b.Why); err != nil {
			return err
		}
		if prefix.Valid {
			var err error
			if b.Prefix, err = netip.ParsePrefix(prefix.String); err != nil {
				return err
			}
		}
		b.GUID, b.Until, b.MadeAt = guid.UUID, utcOrZero(until), b.MadeAt.UTC()
		list = append(list, b)
		return nil
	})
	return list, err
}

// RoleSeen is a role that is connected to the database now.
type RoleSeen struct {
	Role        string `db:"usename"`
	Application string `db:"application_name"`
	Connections int
}

// Roles lists who is connected to the database.
func (s *BackendStore) Roles(ctx context.Context) (list []RoleSeen, err error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	err = s.db.SelectContext(ctx, &list, `SELECT usename, application_name, count(*) AS connections FROM pg_stat_activity
		WHERE datname = current_database() AND usename LIKE 'purepool\_%' GROUP BY 1, 2 ORDER BY 1, 2`)
	return list, wrap(ctx, "list roles", err)
}

// Signs are the last signs of life of a network; zero times: none in the last day.
type Signs struct {
	LastWork    time.Time // a frontend issued work
	LastShare   time.Time // a share arrived that was judged since
	LastVerdict time.Time
	LastTip     time.Time // the backend saw a block
	TipHeight   int32
	BookHeight  int32 // up to which the chain was read
}

// Signs reads them, by indexes or the partitions of the last day.
func (s *BackendStore) Signs(ctx context.Context, networkID int16) (Signs, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	since := storedTime(s.now().Add(-24 * time.Hour))
	var g Signs
	var work, share, verdict, tip sql.NullTime
	err := s.db.QueryRowContext(ctx, `
		SELECT (SELECT max(issued_at) FROM work WHERE network_id = $1 AND issued_at >= $2),
		       greatest((SELECT max(minute) FROM network_minute WHERE network_id = $1 AND minute >= $2), NULL),
		       greatest((SELECT max(judged_at) FROM rejected_share WHERE network_id = $1 AND received_at >= $2),
		                (SELECT max(minute) FROM network_minute WHERE network_id = $1 AND minute >= $2)),
		       (SELECT max(seen_at) FROM tip WHERE network_id = $1),
		       coalesce((SELECT height FROM tip WHERE network_id = $1 ORDER BY seen_at DESC LIMIT 1), 0),
		       coalesce((SELECT max(height) FROM chain_block WHERE network_id = $1 AND main), 0)`, networkID, since).
		Scan(&work, &share, &verdict, &tip, &g.TipHeight, &g.BookHeight)
	g.LastWork, g.LastShare, g.LastVerdict, g.LastTip = utcOrZero(work), utcOrZero(share), utcOrZero(verdict), utcOrZero(tip)
	return g, wrap(ctx, "read signs of life", err)
}
