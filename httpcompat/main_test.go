package httpcompat_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"purepool/pool"
)

func TestMain(m *testing.M) {
	switch child := os.Getenv(childVariable); {
	case strings.HasPrefix(child, "load "):
		loadAsChild(child)
		return
	case child != "":
		serveAsChild()
		return
	}
	goleak.VerifyTestMain(m,
		// The front desk's cache cleans up for ever; it is no part of the wire.
		goleak.IgnoreTopFunction("github.com/hashicorp/golang-lru/v2/expirable.NewLRU[...].func1"),
		// The ACME server of the tests has workers that never end.
		goleak.IgnoreTopFunction("github.com/letsencrypt/pebble/v2/va.VAImpl.processTasks"))
}

// waitThen says that it was called, and answers like then after leave, or never
// before its context ends.
func waitThen(entered chan<- struct{}, leave <-chan struct{}, then func(context.Context, pool.WorkRequest) (pool.WorkGrant, error)) func(context.Context, pool.WorkRequest) (pool.WorkGrant, error) {
	return func(ctx context.Context, r pool.WorkRequest) (pool.WorkGrant, error) {
		entered <- struct{}{}
		select {
		case <-leave:
			return then(ctx, r)
		case <-ctx.Done():
			return pool.WorkGrant{}, ctx.Err()
		}
	}
}
