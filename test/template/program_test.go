package template_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"purepool/bbprpc"
	"purepool/internal/testkit"
	"purepool/pool/queue/queuetest"
	"purepool/sim/daemon"
	sim "purepool/sim/stratum"
	program "purepool/test/house"
)

// inhabited is the program itself, in processes of its own, with the regression
// test chain of some daemons beside its classic network.
type inhabited struct {
	*program.House
	t    *testing.T
	port string
}

// programOf puts it up; more goes into the backend's configuration.
func programOf(t *testing.T, broker queuetest.Broker, tipPoll, more string, d []*litecoind) *inhabited {
	t.Helper()
	p := &inhabited{t: t, port: testkit.FreeAddress(t)}
	var daemons strings.Builder
	for _, node := range d {
		daemons.WriteString(program.RegtestDaemon(node.Node))
		if node.publisher != nil {
			fmt.Fprintf(&daemons, "zmq_hashblock = [%q]\n", node.publisher.Address)
		}
	}
	regtest := program.Regtest{Port: p.port, Wallet: d[0].address, Start: "0.001"}
	p.House = program.New(t, program.Options{
		Broker: broker, TipPoll: tipPoll, Extra: regtest.Config() + "fee_percent = \"2.5\"\n", BackendExtra: daemons.String() + more,
		Daemon: daemon.Options{Network: program.Network, BaseHeight: 1000, History: 2, Bits: 0x1d00ffff},
	})
	return p
}

// mine lets a miner mine until stop is called, which returns what it has seen.
func (p *inhabited) mine(address string, rate float64) (stop func() sim.Snapshot) {
	p.t.Helper()
	return program.StartMiner(p.t, sim.Options{
		Pool: p.port, Worker: address + ".rig", Algorithm: "scrypt", HashRate: rate, Password: "d=0.001", Pause: 100 * time.Millisecond, Resume: true,
	})
}

func (p *inhabited) blocks(result string) int64 {
	p.t.Helper()
	return p.Count(`SELECT count(*) FROM purepool.block_submission WHERE result = $1`, result)
}

func (p *inhabited) moreBlocks(n int64) {
	p.t.Helper()
	want := p.blocks("accepted") + n
	p.Eventually(fmt.Sprintf("%d more blocks", n), time.Minute, func() bool { return p.blocks("accepted") >= want })
}

// everyShareIsCredited waits until the shares that miners were told true for are
// in the ledger, and claims that none was rejected and no block refused.
func (p *inhabited) everyShareIsCredited(miners ...sim.Snapshot) {
	p.t.Helper()
	var accepted int64
	for _, m := range miners {
		accepted += m.Accepted
	}
	p.Eventually("every share stands in the ledger", time.Minute, func() bool {
		return p.Count(`SELECT (SELECT count(*) FROM purepool.share) + (SELECT count(*) FROM `+program.RejectedLater+` AS r)`) >= accepted
	})
	if n := p.Count(`SELECT count(*) FROM ` + program.RejectedLater + ` AS r`); n != 0 {
		p.t.Errorf("%d shares rejected", n)
	}
	p.Eventually("no block is undecided", time.Minute, func() bool { return p.blocks("pending") == 0 })
	if n := p.blocks("refused"); n != 0 {
		p.t.Errorf("%d blocks refused", n)
	}
	p.t.Logf("%d blocks accepted, %d shares credited, miners %+v", p.blocks("accepted"), p.Count(`SELECT count(*) FROM purepool.share`), miners)
}

// TestKilledProgramLosesNoShareAndNoBlock runs the program in the role all and
// kills it while it mines.
func TestKilledProgramLosesNoShareAndNoBlock(t *testing.T) {
	t.Parallel()
	p := programOf(t, nil, "", "", nodes(t, 2))
	all := p.Start("all")
	all.WaitReady(p.Health, time.Minute)
	stop := p.mine(minerAddress, 384)
	for range 3 {
		p.moreBlocks(6)
		all.Kill()
		all = p.Start("all")
		all.WaitReady(p.Health, time.Minute)
		testkit.WaitOpen(p.t, p.port)
	}
	p.moreBlocks(3)
	p.everyShareIsCredited(stop())
	if code := all.Stop(); code != 0 {
		t.Errorf("exit code %d\n%s", code, all.Output())
	}
}

// settling lets the books go as fast as blocks come, and never by the clock
// where a push is to be shown.
const settling = `
[backend.schedule]
watch = "1h"
close_rounds = "500ms"
share_out = "500ms"
pay = "500ms"

[network.regtest.settlement]
share_grace = "0s"

[network.regtest.payments]
enabled = true
threshold = "0.5"
min_interval = "0s"
pool_pays_fee = true
confirm_depth = 2
`

// TestMinedBlocksArePaidToTheMinersToTheSatoshi is the whole way of the money, on
// two real nodes, a frontend and a backend in processes of their own and a NATS
// server: shares over the Stratum port, blocks that the daemons take, maturity,
// share-out, sendmany from the daemon's own wallet, and the miners' wallets. The
// chain is read when a block is pushed: asking by the clock is switched off.
func TestMinedBlocksArePaidToTheMinersToTheSatoshi(t *testing.T) {
	t.Parallel()
	first := newPublishingLitecoind(t)
	d := []*litecoind{first, newLitecoind(t, first)}
	first.wallet()
	first.Generate(1, first.address)
	testkit.Eventually(t, "the nodes are connected", time.Minute, func() bool { return d[1].Height() == 1 })
	miners := []string{d[1].Wallet(), d[1].Address(), d[1].Address()}
	p := programOf(t, queuetest.NewNATS(t, queuetest.NATSOption{}), "1m", settling, d)
	backend, frontend := p.Start("backend"), p.Start("frontend")
	backend.WaitReady(p.Backend, time.Minute)
	frontend.WaitReady(p.Health, time.Minute)
	testkit.WaitOpen(p.t, p.port)
	followed := func() int64 {
		return p.Count(`SELECT coalesce(max(height), -1) FROM purepool.chain_block WHERE main AND network_id = (SELECT id FROM purepool.network WHERE name = 'regtest')`)
	}
	p.Eventually("the chain is followed", 20*time.Second, func() bool { return followed() == d[0].Height() })

	var stops []func() sim.Snapshot
	for i, address := range miners {
		stops = append(stops, p.mine(address, float64(128*(i+1))))
	}
	p.moreBlocks(6)
	p.Eventually("every miner has a share", time.Minute, func() bool {
		return p.Count(`SELECT count(DISTINCT miner_id) FROM purepool.share`) == int64(len(miners))
	})
	var stats []sim.Snapshot
	for _, stop := range stops {
		stats = append(stats, stop())
	}
	p.everyShareIsCredited(stats...)
	p.Eventually("the last block is followed", 5*time.Second, func() bool { return followed() == d[0].Height() })
	found := p.Count(`SELECT count(*) FROM purepool.block WHERE main`)
	if found < 5 {
		t.Errorf("%d blocks of the chain are known as the pool's", found)
	}

	// Strangers' blocks: the pool's mature, and its payments confirm.
	strangers := func(n int) { d[1].Generate(n, minerAddress) }
	strangers(101)
	p.Eventually("every block is shared out", 30*time.Second, func() bool {
		return p.Count(`SELECT count(*) FROM purepool.block WHERE main AND state <> 'mature'`) == 0
	})
	owed := func() int64 {
		return p.Count(`SELECT count(*) FROM purepool.account a JOIN purepool.balance b ON b.account_id = a.id WHERE a.kind = 'miner' AND b.amount >= 50000000`)
	}
	p.Eventually("the wallet has paid", 30*time.Second, func() bool {
		return owed() == 0 && p.Count(`SELECT count(*) FROM purepool.payment WHERE state NOT IN ('sent', 'confirmed')`) == 0 &&
			p.Count(`SELECT count(*) FROM purepool.payment`) > 0
	})
	testkit.Eventually(t, "the payments are known to the other node", 20*time.Second, func() bool {
		var pool []string
		d[1].Call("getrawmempool", &pool)
		return int64(len(pool)) >= p.Count(`SELECT count(*) FROM purepool.payment WHERE state = 'sent'`)
	})
	strangers(3)
	p.Eventually("every payment is confirmed", 30*time.Second, func() bool {
		return p.Count(`SELECT count(*) FROM purepool.payment WHERE state <> 'confirmed'`) == 0
	})

	total := int64(0)
	for i, address := range miners {
		var got bbprpc.Amount
		d[1].Call("getreceivedbyaddress", &got, address)
		paid := p.Count(`SELECT coalesce(sum(i.amount), 0) FROM purepool.payment_item i JOIN purepool.miner m ON m.id = i.miner_id WHERE m.address = $1 AND i.state = 'paid'`, address)
		left := p.Count(`SELECT coalesce(sum(b.amount), 0) FROM purepool.balance b JOIN purepool.account a ON a.id = b.account_id JOIN purepool.miner m ON m.id = a.miner_id
			WHERE m.address = $1 AND a.kind = 'miner'`, address)
		t.Logf("miner %d: %d satoshis in its wallet, %d still owed", i+1, got, left)
		if int64(got) != paid || paid == 0 {
			t.Errorf("miner %d has %d satoshis, the books say %d", i+1, got, paid)
		}
		total += paid + left
	}
	var rewards int64
	for height := int64(2); height <= d[0].Height(); height++ {
		if out := d[0].block(height).Tx[0].Vout[0]; len(out.Script.Addresses) == 1 && out.Script.Addresses[0] == d[0].address {
			rewards += int64(out.Value)
		}
	}
	fee := p.Count(`SELECT coalesce(sum(l.amount), 0) FROM purepool.journal_line l JOIN purepool.account a ON a.id = l.account_id JOIN purepool.journal j ON j.id = l.entry_id
		WHERE a.kind IN ('fee', 'unclaimed') AND j.kind = 'block'`) // unclaimed: the finder was late, and nobody else had worked
	if rewards != total+fee || fee == 0 {
		t.Errorf("the chain has given %d satoshis; miners have got %d, and the pool has kept %d", rewards, total, fee)
	}
	var audits []struct {
		Network string
		Clean   bool
	}
	must(t, json.Unmarshal([]byte(p.Purepool("admin", "audit", "--json")), &audits)) // its exit code says the same
	for _, a := range audits {
		if !a.Clean {
			t.Errorf("the audit of %s is not clean", a.Network)
		}
	}
	if code := frontend.Stop(); code != 0 {
		t.Errorf("exit code %d\n%s", code, frontend.Output())
	}
	if code := backend.Stop(); code != 0 {
		t.Errorf("exit code %d\n%s", code, backend.Output())
	}
}

// TestFrontendAndBackendMineOverRabbitMQ has the two in processes of their own
// and nothing between them but RabbitMQ and the database: jobs go one way, shares
// and blocks the other, also while either is killed.
func TestFrontendAndBackendMineOverRabbitMQ(t *testing.T) {
	t.Parallel()
	p := programOf(t, queuetest.NewRabbitMQ(t), "", "", nodes(t, 2))
	backend, frontend := p.Start("backend"), p.Start("frontend")
	backend.WaitReady(p.Backend, time.Minute)
	frontend.WaitReady(p.Health, time.Minute)
	testkit.WaitOpen(p.t, p.port)
	stop := p.mine(minerAddress, 384)
	p.moreBlocks(3)
	backend.Kill()
	backend = p.Start("backend")
	backend.WaitReady(p.Backend, time.Minute)
	p.moreBlocks(3)
	frontend.Kill()
	frontend = p.Start("frontend")
	frontend.WaitReady(p.Health, time.Minute)
	p.moreBlocks(3)
	p.everyShareIsCredited(stop())
	for _, role := range []*program.Process{frontend, backend} {
		if code := role.Stop(); code != 0 {
			t.Errorf("exit code %d\n%s", code, role.Output())
		}
	}
}
