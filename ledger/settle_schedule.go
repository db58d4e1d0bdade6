package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Schedule is what runs by itself on a network, and how it went.
type Schedule struct {
	NetworkID   int16
	Name        string
	Every       time.Duration
	NextAt      time.Time
	StartedAt   time.Time // zero: never
	FinishedAt  time.Time // zero: never; before StartedAt: running, or its process died
	SucceededAt time.Time // zero: never
	LastError   string    // of the last run; empty where it went well
	Runner      string    // who ran it last
	Runs        int64
	Failures    int64 // since the last success
	Paused      bool
}

// DefineSchedule makes a schedule known, or gives it another interval; its first
// run is due at once.
func (b *Books) DefineSchedule(ctx context.Context, networkID int16, name string, every time.Duration) error {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	_, err := b.db.ExecContext(ctx, `INSERT INTO schedule (network_id, name, every) VALUES ($1, $2, $3 * interval '1 microsecond')
		ON CONFLICT (network_id, name) DO UPDATE SET every = excluded.every,
		    next_at = least(schedule.next_at, now() + excluded.every)
		WHERE schedule.every <> excluded.every`, networkID, name, every.Microseconds())
	return wrap(ctx, "define schedule", err)
}

// Schedules returns what runs by itself, over all networks.
func (b *Books) Schedules(ctx context.Context) ([]Schedule, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	var rows []struct {
		NetworkID                    int16 `db:"network_id"`
		Name                         string
		Micros                       int64
		NextAt                       time.Time `db:"next_at"`
		Started, Finished, Succeeded sql.NullTime
		LastError                    string `db:"last_error"`
		Runner                       string
		Runs, Failures               int64
		Paused                       bool
	}
	err := b.db.SelectContext(ctx, &rows, `SELECT network_id, name, (extract(epoch FROM every) * 1000000)::bigint AS micros, next_at,
		started_at AS started, finished_at AS finished, succeeded_at AS succeeded, last_error, runner, runs, failures, paused
		FROM schedule ORDER BY network_id, name`)
	list := make([]Schedule, len(rows))
	for i, r := range rows {
		list[i] = Schedule{
			NetworkID: r.NetworkID, Name: r.Name, Every: time.Duration(r.Micros) * time.Microsecond, NextAt: r.NextAt.UTC(),
			StartedAt: utcOrZero(r.Started), FinishedAt: utcOrZero(r.Finished), SucceededAt: utcOrZero(r.Succeeded),
			LastError: r.LastError, Runner: r.Runner, Runs: r.Runs, Failures: r.Failures, Paused: r.Paused,
		}
	}
	return list, wrap(ctx, "list schedules", err)
}

func utcOrZero(t sql.NullTime) time.Time {
	if !t.Valid {
		return time.Time{}
	}
	return t.Time.UTC()
}

// PauseSchedule stops a schedule, or lets it go on.
func (b *Books) PauseSchedule(ctx context.Context, networkID int16, name string, paused bool) error {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	done, err := b.db.ExecContext(ctx, `UPDATE schedule SET paused = $3 WHERE network_id = $1 AND name = $2`, networkID, name, paused)
	if err != nil {
		return wrap(ctx, "pause schedule", err)
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return fmt.Errorf("ledger: pause schedule %s: there is none of this name", name)
	}
	return nil
}

// ScheduleTurn is the right to run a schedule once. Nobody else, in any process,
// has it meanwhile.
type ScheduleTurn struct {
	books     *Books
	session   *session
	networkID int16
	name      string
}

// TakeTurn takes the right to run a schedule; nil where somebody else has it, or
// unless force is set, where it is not due or is paused.
func (b *Books) TakeTurn(ctx context.Context, networkID int16, name, runner string, force bool) (*ScheduleTurn, error) {
	callCtx, cancel := b.bound(ctx)
	defer cancel()
	var due bool // asked first: locks cost a connection
	err := b.db.GetContext(callCtx, &due, `SELECT EXISTS (SELECT FROM schedule
		WHERE network_id = $1 AND name = $2 AND ($3 OR next_at <= now() AND NOT paused))`, networkID, name, force)
	if err != nil || !due {
		return nil, wrap(callCtx, "take turn", err)
	}
	s, ok, err := b.tryLock(ctx, fmt.Sprintf("schedule:%d:%s", networkID, name))
	if err != nil || !ok {
		return nil, err
	}
	done, err := b.db.ExecContext(callCtx, `UPDATE schedule SET started_at = now(), next_at = now() + every, runs = runs + 1, runner = $3
		WHERE network_id = $1 AND name = $2 AND ($4 OR next_at <= now() AND NOT paused)`, networkID, name, freeText(runner, 100), force)
	if err != nil {
		s.release()
		return nil, wrap(callCtx, "take turn", err)
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		s.release()
		return nil, wrap(callCtx, "take turn", err)
	}
	return &ScheduleTurn{b, s, networkID, name}, nil
}

// Done ends a turn and writes down how it went.
func (t *ScheduleTurn) Done(ctx context.Context, failure error) error {
	defer t.session.release()
	ctx, cancel := t.books.bound(ctx)
	defer cancel()
	text := ""
	if failure != nil {
		text = freeText(failure.Error(), 1000)
	}
	_, err := t.books.db.ExecContext(ctx, `UPDATE schedule SET finished_at = now(), last_error = $3,
		succeeded_at = CASE WHEN $4 THEN now() ELSE succeeded_at END, failures = CASE WHEN $4 THEN 0 ELSE failures + 1 END
		WHERE network_id = $1 AND name = $2`, t.networkID, t.name, text, failure == nil)
	return wrap(ctx, "end turn", err)
}
