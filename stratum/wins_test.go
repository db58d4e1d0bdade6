package stratum_test

import (
	"fmt"
	"testing"
	"time"

	"purepool/pool/job"
	"purepool/stratum"
)

// easy makes every share of a job a block, but for one of 65,536.
func easy(j *job.Job) { j.Bits = 0x2100ffff }

// late is a miner with work of which every share is a block, and that is too old;
// params lacks the nonce and what follows.
func (p *pond) late(t *testing.T) (c *client, params string) {
	t.Helper()
	p.jobs.next(true, easy)
	c = p.dial(t).login(rig)
	params = c.submitParams(rig, 0)
	params = params[:len(params)-len(`00000000"]`)]
	p.jobs.next(true, nil)
	c.await("mining.notify")
	return c, params
}

// lateWinner hands such shares in.
func (p *pond) lateWinner(t *testing.T) (submit func(nonce uint32) *reply) {
	t.Helper()
	c, params := p.late(t)
	return func(nonce uint32) *reply {
		t.Helper()
		return c.ask("mining.submit", fmt.Sprintf(`%s%08x"]`, params, nonce))
	}
}

func TestShareThatMakesABlockGoesBothRoads(t *testing.T) {
	for what, c := range map[string]struct {
		difficulty float64
		late       bool
		code       int
	}{
		"a good one":                        {difficulty: 1e-12},
		"one that is late":                  {1e-12, true, 21},
		"one below what its miner is asked": {1e6, false, 23},
	} {
		p := open(t, func(cfg *stratum.Config) { cfg.Ports[0].StartDifficulty = c.difficulty })
		var r *reply
		if c.late {
			r = p.lateWinner(t)(1)
		} else {
			p.jobs.next(true, easy)
			r = p.dial(t).login(rig).submit(rig, 1)
		}
		if r.code() != c.code {
			t.Errorf("%s: %s", what, r.line)
		}
		if n := len(p.sink.all()); n != 1 {
			t.Errorf("%s: %d shares are stored when it is answered", what, n)
		}
		eventually(t, "the block is handed over", func() bool { return len(p.sink.allWins()) == 1 })
		if w, s := p.sink.allWins()[0], p.sink.all()[0]; w != s || w.Stale != c.late {
			t.Errorf("%s: handed over %+v, stored %+v", what, w, s)
		}
	}
}

// More blocks than can wait come while the broker hangs. Nobody waits for it, and
// what the road of blocks cannot take goes the other one, late or not.
func TestNoBlockIsLostWhereTheRoadOfBlocksIsFull(t *testing.T) {
	const waiting, sending, more = 4096, 4, 100
	p := open(t, nil)
	p.sink.jam = make(chan struct{})
	c, params := p.late(t)
	for n := 0; n < waiting+sending+more; n += 500 {
		some := min(500, waiting+sending+more-n)
		for i := range some {
			c.send(`{"id":%d,"method":"mining.submit","params":%s%08x"]}`, i, params, n+i)
		}
		for range some {
			if r := c.answer(); r.code() != 21 {
				t.Fatal(r.line)
			}
		}
	}
	stored := len(p.sink.all())
	if stored > waiting+sending+more || stored < waiting+sending+more-5 {
		t.Fatalf("%d shares stored", stored)
	}
	if n := int(p.Wins("failed")); n < stored-waiting-sending || n > stored-waiting { // the last senders may not have begun
		t.Errorf("%d of %d are said to have found their road full", n, stored)
	}
	close(p.sink.jam)
	eventually(t, "who waited is handed over", func() bool { return int(p.Wins("handed_over")+p.Wins("failed")) == stored })
	if n := p.Wins("handed_over"); int(n) != len(p.sink.allWins()) {
		t.Errorf("%v of %d are counted", n, len(p.sink.allWins()))
	}
}

func TestBlockForWhichBothRoadsAreClosedTakesTheFirstThatOpens(t *testing.T) {
	for what, reopen := range map[string]func(*sink){
		"its own":            func(s *sink) { s.noWin.Store(false) },
		"that of all shares": func(s *sink) { s.fail.Store(false) },
	} {
		p := open(t, nil)
		p.sink.noWin.Store(true)
		p.sink.fail.Store(true)
		p.jobs.next(true, easy)
		c := p.dial(t).login(rig)
		old := c.submitParams(rig, 2)
		if r := c.submit(rig, 1); r.code() != 20 {
			t.Errorf("%s: a good one is answered %s", what, r.line)
		}
		p.jobs.next(true, nil)
		c.await("mining.notify")
		if r := c.ask("mining.submit", old); r.code() != 21 {
			t.Errorf("%s: a late one is answered %s", what, r.line)
		}
		eventually(t, "both are kept", func() bool { return p.InFlight() == 2 })
		puts := p.sink.puts.Load()
		eventually(t, "they are tried again", func() bool { return p.sink.puts.Load() >= puts+2 })
		reopen(p.sink)
		eventually(t, "they are taken: "+what, func() bool { return p.InFlight() == 0 })
		taken := map[uint32]bool{}
		for _, s := range append(p.sink.all(), p.sink.allWins()...) {
			taken[s.Found.Nonce] = s.Stale
		}
		if late, ok := taken[2]; len(taken) != 2 || !ok || !late || p.Wins("given_up") != 0 {
			t.Errorf("%s: taken are %v", what, taken)
		}
	}
}

func TestKeptBlocksAreBoundedAsSharesUnderWay(t *testing.T) {
	p := open(t, func(c *stratum.Config) { c.Limits.InFlight = 3 })
	p.sink.noWin.Store(true)
	p.sink.fail.Store(true)
	submit := p.lateWinner(t)
	for n := range uint32(3) {
		if r := submit(n); r.code() != 21 {
			t.Fatal(r.line)
		}
		eventually(t, "it is kept", func() bool { return p.InFlight() == int64(n)+1 })
	}
	if r := submit(3); r.code() != 20 {
		t.Errorf("one too many: %s", r.line)
	}
	p.sink.noWin.Store(false)
	eventually(t, "all are taken", func() bool { return p.InFlight() == 0 })
	if r := submit(3); r.code() != 21 || len(p.sink.allWins()) < 3 {
		t.Errorf("afterwards: %s, %d handed over", r.line, len(p.sink.allWins()))
	}
}

func TestServerThatStopsTriesKeptBlocksUntilItsTimeIsOver(t *testing.T) {
	p := open(t, nil)
	p.sink.noWin.Store(true)
	p.sink.fail.Store(true)
	if r := p.lateWinner(t)(1); r.code() != 21 {
		t.Fatal(r.line)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- p.stop() }()
	puts := p.sink.puts.Load()
	eventually(t, "it is tried again", func() bool { return p.sink.puts.Load() >= puts+3 })
	select {
	case err := <-stopped:
		t.Fatalf("stopped with a block in hand: %v", err)
	default:
	}
	p.sink.noWin.Store(false)
	select {
	case err := <-stopped:
		if err != nil || len(p.sink.allWins()) != 1 {
			t.Errorf("%v, %d handed over", err, len(p.sink.allWins()))
		}
	case <-time.After(patience):
		t.Fatal("the server does not stop")
	}
}
