// Package serve runs an HTTP server for as long as a context lasts.
package serve

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// HTTP answers on the listener until ctx ends, gives the requests under way the
// drain time to end, and returns when all are done. An error is what broke the
// listener.
func HTTP(ctx context.Context, server *http.Server, listener net.Listener, drain time.Duration) error {
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
