package demo

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"purepool/ledger"
	"purepool/sim/miner"
)

const (
	redrawEvery = time.Second
	lineEvery   = 5 * time.Second
)

// show writes the screen or lines until ctx ends, and a last word.
func (d *demo) show(ctx context.Context) error {
	every := lineEvery
	if d.opts.Screen {
		every = redrawEvery
		fmt.Fprint(d.opts.Out, "\x1b[2J")
	} else {
		d.say("%s", d.places())
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var last ledger.Counts
	for {
		counts, err := d.store.ShareCounts(ctx)
		if err == nil {
			last = counts
			d.look(ctx)
			d.draw(counts)
		}
		select {
		case <-ctx.Done():
			return d.farewell(last)
		case <-ticker.C:
		}
	}
}

// farewell says how it ended; the counts are asked for once more, since the
// last shares were judged meanwhile.
func (d *demo) farewell(last ledger.Counts) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if counts, err := d.store.ShareCounts(ctx); err == nil {
		last = counts
	}
	if d.opts.Screen {
		d.draw(last)
	}
	d.say("stopping; %d shares credited and %d rejected so far, all kept in %s", last.Credited, sum(last.Rejected), d.opts.Dir)
	return nil
}

// places says where to look.
func (d *demo) places() string {
	var b strings.Builder
	row := func(what, where string, args ...any) {
		fmt.Fprintf(&b, "  %-20s"+where+"\n", append([]any{what}, args...)...)
	}
	row("Miners connect to", "http://%s/Action.aspx  (network %s)", d.where.HTTP[0], network)
	row("Is it well?", "http://%s/readyz", d.where.Health)
	row("Metrics", "http://%s/metrics", d.where.Health)
	if d.prometheus != "" {
		row("Prometheus", "http://%s/alerts", d.prometheus)
	}
	row("Pages", "http://%s/", d.where.Web)
	row("Coin daemon", "%s  (simulated)", d.daemon.URL())
	row("Folder", "%s  (purepool.toml, purepool.log)", d.opts.Dir)
	row("Look around", "purepool admin payment list --config %s", d.config)
	row("", "psql -h %s -U postgres %s", d.cluster.Host(), database)
	return b.String()
}

func (d *demo) draw(counts ledger.Counts) {
	if !d.opts.Screen {
		d.say("%s", d.line(counts))
		return
	}
	var b strings.Builder
	// Home, then each line wiped to its end, then the rest of the screen: no flicker.
	b.WriteString("\x1b[H")
	for line := range strings.Lines(d.screen(counts)) {
		b.WriteString(strings.TrimSuffix(line, "\n") + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	fmt.Fprint(d.opts.Out, b.String())
}

func (d *demo) screen(counts ledger.Counts) string {
	var b strings.Builder
	up := time.Since(d.begun).Round(time.Second)
	fmt.Fprintf(&b, "Purepool demo, up for %v. Ctrl-C stops it; the next start goes on from here.\n\n%s\n", up, d.places())
	miners := d.fleet.Stats().Snapshot()
	row := func(what, value string, args ...any) {
		fmt.Fprintf(&b, "  %-20s"+value+"\n", append([]any{what}, args...)...)
	}
	row("Shares credited", "%-10d %.1f/s in this run", counts.Credited, d.rate(counts))
	row("Shares rejected", "%-10d (in this run %d of %d solutions were wrong on purpose)", sum(counts.Rejected), miners.FaultySent, miners.Sent)
	for _, reason := range byCount(counts.Rejected, 10) {
		row("", "%6d  %s", counts.Rejected[reason], reason)
	}
	row("Miners", "%d addresses known, %d rigs; %d at work", counts.Miners, counts.Workers, miners.Miners)
	row("Hash rate", "%s by credited shares of ten minutes", hashRate(counts.HashesPerSecond))
	row("Chain", "height %d; %d blocks by our miners in this run", d.daemon.Chain().Tip().Height, miners.Blocks)
	d.money.rows(row)
	if problems := trouble(miners); problems != "" {
		row("Miners complain", "%s", problems)
	}
	return b.String()
}

// line is the screen for who reads a log.
func (d *demo) line(counts ledger.Counts) string {
	miners := d.fleet.Stats().Snapshot()
	var rejected []string
	for _, reason := range byCount(counts.Rejected, 20) {
		rejected = append(rejected, fmt.Sprintf("%s:%d", strings.ReplaceAll(reason, " ", "_"), counts.Rejected[reason]))
	}
	return fmt.Sprintf("up=%v credited=%d rejected=%d miners=%d workers=%d hashrate=%s height=%d blocks=%d %s unexpected=%d reasons=%s",
		time.Since(d.begun).Round(time.Second), counts.Credited, sum(counts.Rejected), counts.Miners, counts.Workers,
		strings.ReplaceAll(hashRate(counts.HashesPerSecond), " ", ""), d.daemon.Chain().Tip().Height, miners.Blocks, d.money.line(), miners.Unexpected,
		strings.Join(rejected, ","))
}

// rate is credited shares a second since this start.
func (d *demo) rate(counts ledger.Counts) float64 {
	seconds := time.Since(d.begun).Seconds()
	if seconds < 1 {
		return 0
	}
	return float64(counts.Credited-d.before.Credited) / seconds
}

// trouble is what the miners did not expect.
func trouble(s miner.Snapshot) string {
	var words []string
	if s.Unexpected > 0 {
		words = append(words, fmt.Sprintf("%d unexpected answers", s.Unexpected))
	}
	for _, kind := range byCount(s.Failed, 3) {
		words = append(words, fmt.Sprintf("%s (%d)", kind, s.Failed[kind]))
	}
	return strings.Join(words, ", ")
}

func sum(counts map[string]int64) (total int64) {
	for _, n := range counts {
		total += n
	}
	return total
}

// byCount lists the keys with the largest counts first, at most n of them.
func byCount(counts map[string]int64, n int) []string {
	keys := slices.Sorted(maps.Keys(counts))
	slices.SortStableFunc(keys, func(a, b string) int { return int(counts[b] - counts[a]) })
	return keys[:min(n, len(keys))]
}

// hashRate writes hashes a second with a unit and one decimal, rounded down.
func hashRate(perSecond int64) string {
	if perSecond < 1000 {
		return fmt.Sprintf("%d H/s", perSecond)
	}
	unit, prefix := int64(1), ""
	for _, p := range []string{"k", "M", "G", "T", "P", "E"} {
		if perSecond/unit < 1000 {
			break
		}
		unit, prefix = unit*1000, p
	}
	tenths := perSecond / (unit / 10)
	return fmt.Sprintf("%d.%d %sH/s", tenths/10, tenths%10, prefix)
}
