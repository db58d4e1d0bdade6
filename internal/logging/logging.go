// Package logging makes the loggers of a process: one for each role it plays,
// whose levels can change while it runs, and which keep the addresses of miners
// to themselves where that is wanted.
//
// A line has the role that wrote it. The lines of one share have its id under the
// key "share" in every role: with level debug, a search for the id shows its way
// from the wire to the ledger.
package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"

	"purepool/internal/config"
)

// Logs are the loggers of a process. Safe for concurrent use.
type Logs struct {
	open    slog.Handler // writes what it is given
	private slog.Handler // shortens addresses
	privacy bool
	general *slog.LevelVar // of what belongs to no role, or to a command
	levels  map[config.Role]*slog.LevelVar
}

// New returns loggers that write to w, a line at a time.
func New(w io.Writer, cfg config.Log) *Logs {
	l := &Logs{privacy: cfg.Privacy, general: new(slog.LevelVar), levels: make(map[config.Role]*slog.LevelVar)}
	for r := range cfg.RoleLevels() {
		l.levels[r] = new(slog.LevelVar)
	}
	l.Configure(cfg)
	shared := &lockedWriter{w: w}
	l.open = newHandler(shared, cfg.Format, nil)
	l.private = newHandler(shared, cfg.Format, shortenAttr)
	return l
}

func newHandler(w io.Writer, format string, replace func([]string, slog.Attr) slog.Attr) slog.Handler {
	// Levels are judged before; these handlers write everything.
	options := &slog.HandlerOptions{Level: slog.Level(-1 << 10), ReplaceAttr: replace}
	if format == "json" {
		return slog.NewJSONHandler(w, options)
	}
	return slog.NewTextHandler(w, options)
}

// Configure sets all levels to those of the configuration. Format and privacy
// stay as they were.
func (l *Logs) Configure(cfg config.Log) {
	l.general.Set(levelOf(cfg.Level))
	for r, name := range cfg.RoleLevels() {
		l.levels[r].Set(levelOf(name))
	}
}

// levelOf reads a level. The configuration allows slog's own names only; info is
// the zero level.
func levelOf(name string) (level slog.Level) {
	_ = level.UnmarshalText([]byte(name))
	return level
}

// For returns the logger of a role. Roles without a level of their own, and
// commands, follow the general one.
func (l *Logs) For(r config.Role) *slog.Logger {
	h := &handler{level: l.general, open: l.open, private: l.private}
	if own, ok := l.levels[r]; ok {
		h.level = own
	}
	if !l.privacy {
		h.private = l.open
	}
	return slog.New(h).With(slog.String("role", string(r)))
}

// Levels returns the level of each role now, and that of all that belongs to none
// under RoleAll.
func (l *Logs) Levels() map[config.Role]slog.Level {
	out := map[config.Role]slog.Level{config.RoleAll: l.general.Level()}
	for r, level := range l.levels {
		out[r] = level.Level()
	}
	return out
}

// SetLevel changes the level of one role, or with RoleAll of everything, until
// the process ends or Configure is called.
func (l *Logs) SetLevel(r config.Role, level slog.Level) error {
	if r == config.RoleAll {
		l.general.Set(level)
		for own := range maps.Values(l.levels) {
			own.Set(level)
		}
		return nil
	}
	own, ok := l.levels[r]
	if !ok {
		return fmt.Errorf("no role %q has a level", r)
	}
	own.Set(level)
	return nil
}

// handler judges a line's level, and which of two handlers writes it: from info
// upwards addresses are shortened, below they are what one looks for.
type handler struct {
	level         slog.Leveler
	open, private slog.Handler
}

// Enabled is part of slog.Handler.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level.Level() }

// Handle is part of slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo {
		return h.open.Handle(ctx, r)
	}
	return h.private.Handle(ctx, r)
}

// WithAttrs is part of slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{level: h.level, open: h.open.WithAttrs(attrs), private: h.private.WithAttrs(attrs)}
}

// WithGroup is part of slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{level: h.level, open: h.open.WithGroup(name), private: h.private.WithGroup(name)}
}

// lockedWriter lets two handlers share a writer: each has a lock of its own.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (w *lockedWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(line)
}
