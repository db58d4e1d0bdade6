package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// openEmbedded starts a JetStream server in this process, reachable from within
// only, with its files in dir.
//
// An acknowledged envelope is on the disk: SyncAlways makes the server fsync before it
// answers. Its default, an fsync every two minutes, would survive a killed
// process but not a power failure. Envelopes make it affordable.
func openEmbedded(ctx context.Context, cfg Config, dir string) (driver, error) {
	if dir == "" {
		return nil, errors.New("no folder: want embedded:/path")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	unlock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	srv, err := server.NewServer(&server.Options{
		ServerName:             "purepool",
		DontListen:             true,
		JetStream:              true,
		StoreDir:               dir,
		SyncAlways:             true,
		MaxPayload:             MaxMessageBytes,
		DisableJetStreamBanner: true,
		NoSigs:                 true,
		// The streams bound themselves (Config.MaxBytes); without a number here
		// the server would refuse streams that exceed three quarters of the free disk.
		JetStreamMaxStore: 1 << 50,
	})
	if err != nil {
		unlock()
		return nil, err
	}
	srv.SetLoggerV2(serverLog{cfg.Logger}, false, false, false)
	stop := func() error {
		srv.Shutdown()
		srv.WaitForShutdown()
		unlock()
		return nil
	}
	srv.Start()
	if !srv.ReadyForConnections(30 * time.Second) {
		return nil, errors.Join(errors.New("embedded broker did not start within 30 s"), stop())
	}
	if !srv.JetStreamEnabled() {
		return nil, errors.Join(fmt.Errorf("embedded broker cannot use its folder %s", dir), stop())
	}
	d, err := connectNATS(ctx, cfg, "", stop, nats.InProcessServer(srv))
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	return d, nil
}

// serverLog passes the server's log lines on.
type serverLog struct{ log *slog.Logger }

func (l serverLog) line(level slog.Level, format string, v []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "embedded broker", slog.String("message", fmt.Sprintf(format, v...)))
	}
}

func (l serverLog) Noticef(format string, v ...any) { l.line(slog.LevelDebug, format, v) }
func (l serverLog) Warnf(format string, v ...any) {
	level := slog.LevelWarn
	if strings.HasPrefix(format, "Maximum payloads over") {
		level = slog.LevelDebug // the largest shares need it, and they are rare
	}
	l.line(level, format, v)
}
func (l serverLog) Fatalf(format string, v ...any) { l.line(slog.LevelError, format, v) }
func (l serverLog) Errorf(format string, v ...any) { l.line(slog.LevelError, format, v) }
func (l serverLog) Debugf(string, ...any)          {}
func (l serverLog) Tracef(string, ...any)          {}
