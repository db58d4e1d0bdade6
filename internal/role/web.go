package role

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"purepool/internal/serve"
)

const notBuiltYet = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Purepool</title>
<style>body{font:1.1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1rem}</style>
<h1>Purepool</h1>
<p>The pages of this pool are not built yet.
<p>Miners are not affected: they talk to <code>Action.aspx</code> at the frontend.
</html>
`

// web starts the pages, or for now the page which says that there are none.
func (p *process) web(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", p.cfg.Web.Listen)
	if err != nil {
		return fmt.Errorf("web listener: %w", err)
	}
	p.addresses.Web = listener.Addr()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		w.WriteHeader(http.StatusNotImplemented)
		_, _ = w.Write([]byte(notBuiltYet))
	})
	server := &http.Server{
		Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	p.stack.run("web", func(ctx context.Context) error { return serve.HTTP(ctx, server, listener, 5*time.Second) })
	return nil
}
