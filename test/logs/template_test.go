package logs

import (
	"context"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"purepool/internal/testkit"
	sim "purepool/sim/stratum"
)

const (
	// nodePassword opens the RPC port of the template network's daemon.
	nodePassword = "litecoin-password-of-the-tests"
	// jobMiner is who mines there.
	jobMiner = "mgSKZM72AZkJWt6UfhQpzoS5Ezc2y8x73E"
)

// behindTheBalancer returns an address at which connections reach another one as if
// from minersIP, until the test ends.
func (y *yard) behindTheBalancer(t *testing.T, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			miner, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer miner.Close()
				pool, err := net.Dial("tcp", address)
				if err != nil {
					return
				}
				defer pool.Close()
				_, _ = pool.Write([]byte("PROXY TCP4 " + minersIP + " 127.0.0.1 5555 3333\r\n"))
				go func() {
					_, _ = io.Copy(pool, miner)
					_ = pool.Close()
				}()
				_, _ = io.Copy(miner, pool)
			}()
		}
	}()
	return l.Addr().String()
}

// followsAShareOfAJob is followsAShare on the other road: a share there has no
// request and no work, its id is made of what it is, by both roles alike.
func (y *yard) followsAShareOfAJob(t *testing.T) {
	testkit.WaitOpen(t, y.jobs)
	mark := y.mark()
	m, err := sim.NewMiner(sim.Options{
		Pool: y.behindTheBalancer(t, y.jobs), Worker: jobMiner + ".rig", Algorithm: "scrypt", HashRate: 256, Password: "d=0.001",
		Pause: 100 * time.Millisecond, Shares: 3,
	})
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, m.Run(ctx))
	if s := m.Stats().Snapshot(); s.Accepted == 0 {
		t.Fatalf("no share was taken: %+v", s)
	}
	road := []string{"share received", "share durable", "share judged", "share in the ledger"}
	y.Eventually("the lines of a share are all there", 30*time.Second, func() bool {
		said := make(map[string][]string)
		for _, l := range y.log.lines(t, mark) {
			if l.Share == "" || l.Network != "regtest" {
				continue
			}
			if want := []string{"frontend", "frontend", "backend", "backend"}[slices.Index(road, l.Msg)]; l.Role != want {
				t.Fatalf("written by the wrong role: %s", l.whole)
			}
			said[l.Share] = append(said[l.Share], l.Msg)
		}
		for _, lines := range said {
			if !slices.ContainsFunc(road, func(msg string) bool { return !slices.Contains(lines, msg) }) {
				return true
			}
		}
		return false
	})
}
