package admin

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"purepool/pool/chain"
	"purepool/sim/daemon"
	"purepool/sim/miner"
	"purepool/test/house"
)

// ask makes a miner's request and returns what it is told; "" where the pool says
// nothing at all.
func ask(t *testing.T, h *house.House, who string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.HTTP+"/Action.aspx", nil)
	must(t, err)
	r.Header.Set("Action", "readytomine2")
	r.Header.Set("Miner", who)
	r.Header.Set("NetworkID", house.Network)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return ""
	}
	return string(body)
}

// TestBansHoldWithinSecondsOnBothWiresAndOpenConnections bans as an operator does,
// while a miner is connected.
func TestBansHoldWithinSecondsOnBothWiresAndOpenConnections(t *testing.T) {
	h := house.New(t, house.Options{Daemon: daemon.Options{Network: house.Network}})
	y := &yard{root: t, t: t, config: h.Config}
	h.Run("all")
	address := miner.RandomAddress(rand.New(rand.NewPCG(1, 2)), chain.BiblePayTest()) //nolint:gosec // a test
	granted := func() bool { return strings.Contains(ask(t, h, address+"/rig"), "WORKID") }
	if !granted() {
		t.Fatalf("no work: %s", ask(t, h, address+"/rig"))
	}
	open, err := net.Dial("tcp", h.Stratum)
	must(t, err)
	defer open.Close()

	for _, c := range []struct{ whom, want string }{
		{"0.0.0.0/0", "more than a ban is for"}, {"198.51.100.7/24", "say 198.51.100.0/24 for the network"}, {"nobody", "there is no miner nobody"},
	} {
		y.wants(y.purepool(1, "admin", "ban", "add", c.whom, "--reason", "a test"), c.want)
	}
	y.wants(y.purepool(2, "admin", "ban", "add", "127.0.0.1"), "--reason")
	y.wants(y.purepool(1, "admin", "ban", "remove", "77"), "no such ban")

	y.wants(y.purepool(0, "admin", "--by", "alice", "ban", "add", "127.0.0.0/24", "--for", "1h", "--reason", "an attack"), "127.0.0.0/24", "an attack", "alice (")
	y.wants(y.purepool(1, "admin", "ban", "add", "127.0.0.0/24", "--reason", "again"), "there is such a ban already")
	must(t, open.SetReadDeadline(time.Now().Add(8*time.Second))) // less than what a miner has to log in
	if _, err := open.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("an open connection of a banned address: %v", err)
	}
	if got := ask(t, h, address+"/rig"); strings.Contains(got, "WORKID") {
		t.Errorf("a banned address was told %q", got)
	}
	y.wants(y.purepool(0, "admin", "ban", "remove", "1", "--reason", "over"), "nobody is banned")
	h.Eventually("work is granted again", 15*time.Second, granted)

	y.purepool(0, "admin", "ban", "add", address, "--reason", "stolen rigs")
	h.Eventually("the miner is turned away", 15*time.Second, func() bool { return strings.Contains(ask(t, h, address+"/rig"), "disabled") })
	y.wants(y.purepool(0, "admin", "ban", "list", "--json"), `"miner":"`+address+`"`, `"why":"stolen rigs"`)
	y.purepool(0, "admin", "ban", "remove", "3", "--reason", "given back")
	h.Eventually("the miner is served again", 15*time.Second, granted)
	out := y.purepool(0, "admin", "log", "--action", "ban")
	y.wants(out, "add ban", "remove ban", "stolen rigs", "alice (")
	if strings.Count(out, " ban ") < 4 {
		t.Errorf("the audit log lacks bans:\n%s", out)
	}
}
