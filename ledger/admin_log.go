package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// AuditEntry is one line of the audit log: who changed what, when and why. The
// database refuses to change or remove it.
type AuditEntry struct {
	ID     int64
	At     time.Time
	Who    string
	Action string
	Why    string
	Detail json.RawMessage // what exactly, an object
}

// AuditQuery selects lines of the audit log; zero fields select all.
type AuditQuery struct {
	Since   time.Time
	Who     string // the beginning of the name
	Action  string // a part of it
	MinerID int64
	Limit   int // 0: 100
}

// AuditLog returns lines of the audit log, the newest first.
func (s *BackendStore) AuditLog(ctx context.Context, q AuditQuery) ([]AuditEntry, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	if q.Limit <= 0 {
		q.Limit = 100
	}
	var rows []struct {
		ID               int64
		At               time.Time
		Who, Action, Why string
		Detail           []byte
	}
	since := q.Since
	if since.IsZero() {
		since = time.Unix(0, 0)
	}
	err := s.db.SelectContext(ctx, &rows, `
		SELECT id, at, who, action, why, detail FROM audit_log
		WHERE at >= $1 AND starts_with(who, $2) AND position($3 IN action) > 0
		  AND ($4 = 0 OR CAST($4 AS text) IN (detail->>'miner_id', detail->>'from_id', detail->>'into_id'))
		ORDER BY id DESC LIMIT $5`, storedTime(since), q.Who, q.Action, q.MinerID, q.Limit)
	if err != nil {
		return nil, wrap(ctx, "read audit log", err)
	}
	list := make([]AuditEntry, len(rows))
	for i, r := range rows {
		list[i] = AuditEntry{r.ID, r.At.UTC(), r.Who, r.Action, r.Why, json.RawMessage(r.Detail)}
	}
	return list, nil
}

// Log writes into the audit log what is changed elsewhere than in the ledger.
func (s *BackendStore) Log(ctx context.Context, by Reason, action string, detail map[string]any) error {
	return s.Books().inTx(ctx, "write audit log", func(ctx context.Context, tx *sqlx.Tx) error {
		return logChange(ctx, tx, by, action, detail)
	})
}

// SetSchedulePaused stops a schedule, or lets it go on, and writes it into the
// audit log.
func (b *Books) SetSchedulePaused(ctx context.Context, networkID int16, name string, paused bool, by Reason) error {
	return b.inTx(ctx, "pause schedule", func(ctx context.Context, tx *sqlx.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE schedule SET paused = $3 WHERE network_id = $1 AND name = $2`, networkID, name, paused)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return fmt.Errorf("there is no job %q", name)
		}
		action := "resume schedule"
		if paused {
			action = "pause schedule"
		}
		return logChange(ctx, tx, by, action, map[string]any{"network_id": networkID, "schedule": name})
	})
}
