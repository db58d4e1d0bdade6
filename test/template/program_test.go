package template_test

import (
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"purepool/sim/daemon"
	sim "purepool/sim/stratum"
	program "purepool/test/house"
)

// TestKilledProgramLosesNoShareAndNoBlock runs the program itself, in the role
// all, beside its classic network, and kills it while it mines.
func TestKilledProgramLosesNoShareAndNoBlock(t *testing.T) {
	d := nodes(t, 2)
	port := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	extra := fmt.Sprintf(`
[[frontend.stratum]]
listen = %q
network = "regtest"
start_difficulty = "0.002"

[network.regtest]
mode = "template"
chain = "litecoin-regtest"
algorithm = "scrypt"
pool_address = %q
daemon_timeout = "3s"
`, port, d[0].address)
	for _, node := range d {
		extra += fmt.Sprintf("[[network.regtest.daemon]]\nurl = %q\ncookie_file = %q\n", node.rpc, filepath.Join(node.dir, "regtest", ".cookie"))
	}
	t.Setenv("PUREPOOL_BACKEND_STATE_DIR", t.TempDir())
	h := program.New(t, program.Options{Extra: extra, Daemon: daemon.Options{Network: program.Network, BaseHeight: 1000, History: 2, Bits: 0x1d00ffff}})
	p := h.Start("all")
	p.WaitReady(h.Health, time.Minute)

	m, err := sim.NewMiner(sim.Options{
		Pool: port, Worker: minerAddress + ".rig", Algorithm: "scrypt", Connections: 2, HashRate: 192, Password: "d=0.002", Pause: 100 * time.Millisecond,
	})
	must(t, err)
	done := make(chan error, 1)
	ctx, stop := contextOf(t)
	go func() { done <- m.Run(ctx) }()
	blocks := func() int64 {
		return h.Count(`SELECT count(*) FROM purepool.block_submission WHERE result = 'accepted'`)
	}
	for range 3 {
		before := blocks()
		h.Eventually("more blocks", time.Minute, func() bool { return blocks() >= before+6 })
		p.Kill()
		p = h.Start("all")
		p.WaitReady(h.Health, time.Minute)
		await(t, 30*time.Second, "the port is open", func() bool {
			c, err := net.Dial("tcp", port)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
	}
	before := blocks()
	h.Eventually("more blocks", time.Minute, func() bool { return blocks() >= before+3 })
	stop()
	<-done
	stats := m.Stats().Snapshot()
	h.Eventually("every share stands in the ledger", time.Minute, func() bool {
		return h.Count(`SELECT (SELECT count(*) FROM purepool.share) + (SELECT count(*) FROM purepool.rejected_share)`) >= stats.Accepted
	})
	t.Logf("%d blocks accepted, height %d, miners %+v, %d credited", blocks(), d[0].height(), stats, h.Count(`SELECT count(*) FROM purepool.share`))
	if n := h.Count(`SELECT count(*) FROM purepool.rejected_share`); n != 0 {
		t.Errorf("%d shares rejected", n)
	}
	if n := h.Count(`SELECT count(*) FROM purepool.block_submission WHERE result = 'refused'`); n != 0 {
		t.Errorf("%d blocks refused", n)
	}
	h.Eventually("no block is undecided", time.Minute, func() bool {
		return h.Count(`SELECT count(*) FROM purepool.block_submission WHERE result = 'pending'`) == 0
	})
	if code := p.Stop(); code != 0 {
		t.Errorf("exit code %d\n%s", code, p.Output())
	}
}
