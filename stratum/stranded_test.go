package stratum

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"purepool/pool/job"
)

type closedRoads struct{ wins, puts int }

func (c *closedRoads) Put(context.Context, []job.Share) error { c.puts++; return errors.New("closed") }

func (c *closedRoads) Win(context.Context, job.Share) error { c.wins++; return errors.New("closed") }

func TestKeptBlockIsGivenUpWhenItCannotCountAnyMoreOrNoTimeIsLeft(t *testing.T) {
	sink := new(closedRoads)
	p := newPump(t, func(c *Config) { c.Networks[0].Sink = sink })
	b := p.srv.books[0]
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for what, c := range map[string]struct {
		ctx  context.Context
		age  time.Duration
		kept bool
	}{
		"one of a minute ago":       {background, time.Minute, true},
		"one of two hours ago":      {background, 2 * time.Hour, false},
		"one of a server that ends": {over, time.Second, false},
	} {
		*sink = closedRoads{}
		before := testutil.ToFloat64(b.winsGivenUp)
		share := job.Share{ReceivedAt: job.MomentOf(time.Now().Add(-c.age))}
		left := p.srv.retry(c.ctx, b, []job.Share{share})
		if kept := len(left) == 1; kept != c.kept || testutil.ToFloat64(b.winsGivenUp)-before == 1 == c.kept {
			t.Errorf("%s: %d left", what, len(left))
		}
		if sink.wins != 1 || sink.puts != 1 {
			t.Errorf("%s: tried %+v", what, *sink)
		}
	}
}
