package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Days that have partitions: two back, for shares that have waited for their
// verdict, and four ahead, so that frontends live through a long absence of the
// backend.
const (
	daysBack  = 2
	daysAhead = 4
)

// shareHeights is how many heights a partition of share holds; the database has
// the same number in share_partition_heights().
const shareHeights = 200

// dayRange returns the first and the last day that have partitions.
func dayRange(now time.Time) (first, last time.Time) {
	today := now.UTC().Truncate(24 * time.Hour)
	return today.AddDate(0, 0, -daysBack), today.AddDate(0, 0, daysAhead)
}

// partitions remembers which partitions were seen to, so that a batch asks the
// database only for what is new. Safe for concurrent use.
type partitions struct {
	mu   sync.Mutex // guards all below
	day  time.Time  // the last day seen to
	seen map[[2]int32]struct{}
}

func (p *partitions) knowsDay(day time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.day.Equal(day)
}

func (p *partitions) setDay(day time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.day = day
}

func (p *partitions) knowsHeight(networkID int16, height int32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, known := p.seen[[2]int32{int32(networkID), height / shareHeights}]
	return known
}

func (p *partitions) setHeights(networkID int16, from, to int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil || len(p.seen) > 10000 {
		p.seen = map[[2]int32]struct{}{}
	}
	for part := from / shareHeights; part <= to/shareHeights; part++ {
		p.seen[[2]int32{int32(networkID), part}] = struct{}{}
	}
}

func (p *partitions) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.day, p.seen = time.Time{}, nil
}

// EnsurePartitions makes partitions ahead: the days around now, and for each
// network the heights around its tip (network id to height). Cheap where they
// exist; to be called every few minutes.
func (s *BackendStore) EnsurePartitions(ctx context.Context, now time.Time, tips map[int16]int32) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	if err := s.ensureDays(ctx, now); err != nil {
		return wrap(ctx, "ensure partitions", err)
	}
	for networkID, height := range tips {
		from, to := max(0, height-shareHeights), height+2*shareHeights
		if height < 0 || to < height {
			return fmt.Errorf("ledger: ensure partitions: height %d: %w", height, ErrBadRow)
		}
		if err := s.ensureHeights(ctx, networkID, from, to); err != nil {
			return wrap(ctx, "ensure partitions", err)
		}
	}
	return nil
}

func (s *BackendStore) ensureDays(ctx context.Context, now time.Time) error {
	first, last := dayRange(now)
	if _, err := s.db.ExecContext(ctx, `SELECT ensure_day_partitions($1, $2)`, first, last); err != nil {
		return err
	}
	s.parts.setDay(last)
	return nil
}

func (s *BackendStore) ensureHeights(ctx context.Context, networkID int16, from, to int32) error {
	if _, err := s.db.ExecContext(ctx, `SELECT ensure_share_partitions($1, $2, $3)`, networkID, from, to); err != nil {
		return err
	}
	s.parts.setHeights(networkID, from, to)
	return nil
}

// ensureFor sees to the partitions that a batch needs.
func (s *BackendStore) ensureFor(ctx context.Context, b *batch) error {
	if _, last := dayRange(b.now); !s.parts.knowsDay(last) {
		if err := s.ensureDays(ctx, b.now); err != nil {
			return err
		}
	}
	for i := range b.rows {
		r := &b.rows[i]
		if r.Reason == "" && !s.parts.knowsHeight(b.networkID, r.Height) {
			if err := s.ensureHeights(ctx, b.networkID, r.Height, r.Height); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r Retention) withDefaults() Retention {
	const day = 24 * time.Hour
	for _, field := range []struct {
		value        *time.Duration
		usual, least time.Duration
	}{
		{&r.Shares, 14 * day, day},
		{&r.Works, 16 * day, daysBack * day},
		{&r.Rejected, 3 * day, daysBack * day},
		{&r.Solutions, 2 * day, daysBack * day},
		{&r.Minutes, 8 * day, daysBack * day},
		{&r.Tips, 16 * day, day},
	} {
		if *field.value <= 0 {
			*field.value = field.usual
		}
		*field.value = max(*field.value, field.least)
	}
	return r
}

// DropExpired drops what is older than the retention, and returns the names of
// the dropped partitions. Shares that are not settled are never dropped. What
// could not be dropped because somebody reads it is left for the next time, and
// is an error that is Away.
func (s *BackendStore) DropExpired(ctx context.Context, now time.Time, keep Retention) ([]string, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	keep = keep.withDefaults()
	var dropped []string
	var errs []error
	drop := func(query string, args ...any) {
		var names []string
		if err := s.db.SelectContext(ctx, &names, query, args...); err != nil {
			errs = append(errs, err)
			return
		}
		dropped = append(dropped, names...)
	}
	for table, age := range map[string]time.Duration{
		"work": keep.Works, "rejected_share": keep.Rejected, "share_solution": keep.Solutions, "share_minute": keep.Minutes,
	} {
		// A day goes when its last moment has expired.
		drop(`SELECT * FROM drop_day_partitions($1, $2)`, table, now.Add(-age).UTC().Truncate(24*time.Hour))
	}
	networks, err := s.Networks(ctx)
	if err != nil {
		errs = append(errs, err)
	}
	for _, id := range networks {
		drop(`SELECT * FROM drop_share_partitions($1, $2)`, id, now.Add(-keep.Shares).UTC())
	}
	// The tip of that moment is still needed to judge the moments after it.
	_, err = s.db.ExecContext(ctx, `
		DELETE FROM tip t WHERE seen_at < (
			SELECT max(seen_at) FROM tip l WHERE l.network_id = t.network_id AND l.seen_at < $1)`, now.Add(-keep.Tips).UTC())
	errs = append(errs, err)
	s.parts.forget()
	slices.Sort(dropped)
	return dropped, wrap(ctx, "drop expired", errors.Join(errs...))
}
