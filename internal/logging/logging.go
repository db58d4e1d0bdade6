// Package logging makes the logger of a process from its configuration.
package logging

import (
	"io"
	"log/slog"

	"purepool/internal/config"
)

// New returns a logger that writes to w.
func New(w io.Writer, cfg config.Log) *slog.Logger {
	var level slog.Level
	// The configuration allows slog's own names only; info is the zero level.
	_ = level.UnmarshalText([]byte(cfg.Level))
	options := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
