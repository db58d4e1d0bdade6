package bbprpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"purepool/bbprpc"
)

// litecoind is a real daemon of the Bitcoin family, alone on its regression test
// chain.
type litecoind struct {
	dir, url string
	args     []string
	cmd      *exec.Cmd
	output   bytes.Buffer
}

// newLitecoind prepares a daemon with a folder of its own and starts it.
func newLitecoind(t *testing.T, extra ...string) *litecoind {
	t.Helper()
	port := freePort(t)
	d := &litecoind{dir: t.TempDir(), url: fmt.Sprintf("http://127.0.0.1:%d", port)}
	d.args = append([]string{
		"-regtest", "-datadir=" + d.dir, "-server", "-listen=0", "-dnsseed=0", "-printtoconsole=0",
		"-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1", fmt.Sprintf("-rpcport=%d", port), "-fallbackfee=0.0001",
	}, extra...)
	t.Cleanup(d.kill)
	d.start(t)
	return d
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (d *litecoind) start(t *testing.T) {
	t.Helper()
	d.cmd = exec.Command("litecoind", d.args...)
	d.cmd.Stdout, d.cmd.Stderr = &d.output, &d.output
	if err := d.cmd.Start(); err != nil {
		t.Fatalf("litecoind is needed for this test: %v", err)
	}
}

// kill ends the daemon as a power cut would, and waits until it is gone.
func (d *litecoind) kill() {
	if d.cmd != nil {
		d.cmd.Process.Kill()
		d.cmd.Wait()
		d.cmd = nil
	}
}

// stop ends the daemon in good order: what it knows is on disk then.
func (d *litecoind) stop(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	d.cmd.Wait()
	d.cmd = nil
}

// endpoint returns the daemon with its cookie.
func (d *litecoind) endpoint() bbprpc.Endpoint {
	return bbprpc.Endpoint{URL: d.url, CookieFile: filepath.Join(d.dir, "regtest", ".cookie")}
}

func (d *litecoind) client(t *testing.T) *bbprpc.Client {
	t.Helper()
	return newClient(t, bbprpc.Config{Endpoints: []bbprpc.Endpoint{d.endpoint()}})
}

// ready waits until the daemon answers and returns in what ways it was away
// before that.
func (d *litecoind) ready(t *testing.T) map[bbprpc.Reason]bool {
	t.Helper()
	seen := make(map[bbprpc.Reason]bool)
	waitFor(t, func() bool {
		c, err := bbprpc.New(bbprpc.Config{Endpoints: []bbprpc.Endpoint{d.endpoint()}}) // one that leaves nobody alone
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, err = c.BlockCount(t.Context())
		if err == nil {
			return true
		}
		seen[asAway(t, err).Reason] = true
		return false
	})
	return seen
}

// mine makes a wallet where there is none and mines blocks into it.
func (d *litecoind) mine(t *testing.T, blocks int) (address string) {
	t.Helper()
	c := d.client(t)
	c.Do(t.Context(), bbprpc.NewCall("createwallet", nil, "")) // may be there
	if err := c.Do(t.Context(), bbprpc.NewCall("getnewaddress", &address, "", "legacy")); err != nil {
		t.Fatal(err)
	}
	if err := c.Do(t.Context(), bbprpc.NewCall("generatetoaddress", nil, blocks, address)); err != nil {
		t.Fatal(err)
	}
	return address
}

func TestLitecoindThatStartsIsAway(t *testing.T) {
	t.Parallel()
	d := newLitecoind(t)
	// It warms up for a fraction of a second, which a busy machine can miss.
	const starts = 50
	for range starts {
		if d.ready(t)[bbprpc.AwayWarmingUp] {
			return
		}
		d.kill()
		d.start(t)
	}
	t.Errorf("in %d starts it never said that it warms up", starts)
}

func TestLitecoindIsAskedAndPays(t *testing.T) {
	t.Parallel()
	d := newLitecoind(t)
	d.ready(t)
	address := d.mine(t, 101)
	c, ctx := d.client(t), t.Context()

	height, err := c.BlockCount(ctx)
	if err != nil || height != 101 {
		t.Errorf("height %d, %v", height, err)
	}
	best, err := c.BestBlockHash(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if same, err := c.BlockHash(ctx, 101); err != nil || same != best {
		t.Errorf("block 101 is %s, the tip %s, %v", same, best, err)
	}
	block, err := c.Block(ctx, best)
	if err != nil || block.Hash != best || block.Height != 101 || block.Confirmations != 1 || block.Prev.IsZero() || block.Time == 0 || len(block.TxIDs) != 1 {
		t.Errorf("block %+v, %v", block, err)
	}
	genesis, err := c.BlockHash(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	if block, err := c.Block(ctx, genesis); err != nil || !block.Prev.IsZero() || block.Confirmations != 102 {
		t.Errorf("genesis %+v, %v", block, err)
	}
	if _, err := c.BlockHash(ctx, 102); !bbprpc.IsCode(err, bbprpc.CodeInvalidParameter) {
		t.Errorf("a block above the tip: %v", err)
	}

	info, err := c.WalletInfo(ctx)
	if err != nil || info.Balance.String() != "50.00000000" || info.Immature.String() != "5000.00000000" || info.TxCount != 101 {
		t.Errorf("wallet %+v, %v", info, err)
	}
	txid, err := c.SendToAddress(ctx, bbprpc.Payment{Address: address, Amount: 123_456_789, Comment: "batch 7 <a> & \"b\"", CommentTo: "x"})
	if err != nil {
		t.Fatal(err)
	}
	var paid struct {
		Comment string
		Details []struct {
			Category string
			Amount   bbprpc.Amount
		}
	}
	if err := c.Do(ctx, bbprpc.NewCall("gettransaction", &paid, txid.String())); err != nil {
		t.Fatal(err)
	}
	if paid.Comment != "batch 7 <a> & \"b\"" || len(paid.Details) != 2 || paid.Details[0].Amount != -123_456_789 {
		t.Errorf("the wallet's book says %+v", paid)
	}
	if _, err := c.SendToAddress(ctx, bbprpc.Payment{Address: "B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH", Amount: 1}); !bbprpc.IsCode(err, bbprpc.CodeInvalidAddress) {
		t.Errorf("paying an address of another coin: %v", err)
	}
	if _, err := c.SendToAddress(ctx, bbprpc.Payment{Address: address, Amount: 1e15}); !bbprpc.IsCode(err, bbprpc.CodeInsufficient) {
		t.Errorf("paying too much: %v", err)
	}
}

func TestLitecoindAnswersBatches(t *testing.T) {
	t.Parallel()
	d := newLitecoind(t)
	d.ready(t)
	var height int64
	calls := []*bbprpc.Call{bbprpc.BlockCountCall(&height)}
	hashes := make([]string, 250)
	for i := range hashes {
		calls = append(calls, bbprpc.NewCall("getblockhash", &hashes[i], 0))
	}
	calls = append(calls, bbprpc.NewCall("getblockhash", nil, 99), bbprpc.NewCall("exec", nil, "pinfo"))
	if err := d.client(t).Batch(t.Context(), calls); err != nil {
		t.Fatal(err)
	}
	for i, call := range calls[:251] {
		if call.Err != nil || i > 0 && hashes[i-1] != hashes[0] {
			t.Fatalf("call %d: %v", i, call.Err)
		}
	}
	if !bbprpc.IsCode(calls[251].Err, bbprpc.CodeInvalidParameter) || !bbprpc.IsCode(calls[252].Err, bbprpc.CodeMethodNotFound) {
		t.Errorf("%v, %v", calls[251].Err, calls[252].Err)
	}
	if err := d.client(t).Do(t.Context(), bbprpc.NewCall("exec", nil, "pinfo")); !bbprpc.IsCode(err, bbprpc.CodeMethodNotFound) {
		t.Errorf("an unknown call alone: %v", err)
	}
}

func TestLitecoindRefusesCredentials(t *testing.T) {
	t.Parallel()
	d := newLitecoind(t, "-rpcuser=pool", "-rpcpassword=secret")
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: d.url, User: "pool", PasswordFile: file}}})
	waitFor(t, func() bool { _, err := c.BlockCount(t.Context()); return err == nil })
	_, err := newClient(t, bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: d.url, User: "pool", Password: "wrong"}}}).BlockCount(t.Context())
	if away := asAway(t, err); away.Reason != bbprpc.AwayCredentials || !away.NotExecuted {
		t.Errorf("away = %+v", away)
	}
}

func TestLitecoindIsReachedAgainWithTheCookieOfItsNextStart(t *testing.T) {
	t.Parallel()
	d := newLitecoind(t)
	d.ready(t)
	c := d.client(t)
	if _, err := c.BlockCount(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.kill()
	_, err := c.BlockCount(t.Context())
	asAway(t, err)
	d.start(t)
	waitFor(t, func() bool { _, err := c.BlockCount(t.Context()); return err == nil })
}

func TestLitecoindKilledInTheMiddleOfACallIsAway(t *testing.T) {
	t.Parallel()
	d := newLitecoind(t)
	d.ready(t)
	c := d.client(t)
	done := make(chan error)
	go func() { done <- c.Do(t.Context(), bbprpc.NewCall("waitfornewblock", nil, 0)) }()
	waitFor(t, func() bool { return d.busy(t) >= 2 }) // the call and the question
	d.kill()
	if away := asAway(t, <-done); away.Reason != bbprpc.AwayBroken || away.NotExecuted {
		t.Errorf("away = %+v", away)
	}
}

// busy returns how many calls the daemon is working on.
func (d *litecoind) busy(t *testing.T) int {
	t.Helper()
	var info struct {
		ActiveCommands []any `json:"active_commands"`
	}
	if err := d.client(t).Do(t.Context(), bbprpc.NewCall("getrpcinfo", &info)); err != nil {
		t.Fatal(err)
	}
	return len(info.ActiveCommands)
}

func TestLitecoindWithAFullWorkQueueIsAway(t *testing.T) {
	t.Parallel()
	d := newLitecoind(t, "-rpcthreads=1", "-rpcworkqueue=1")
	d.ready(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	const waiting = 3 // one is worked on, one waits, at least one is one too many
	for range waiting {
		go func() { done <- d.client(t).Do(ctx, bbprpc.NewCall("waitfornewblock", nil, 0)) }()
	}
	if away := asAway(t, <-done); away.Reason != bbprpc.AwayBusy || !away.NotExecuted {
		t.Errorf("away = %+v", away)
	}
	cancel()
	for range waiting - 1 {
		if err := <-done; !errors.Is(err, context.Canceled) && asAway(t, err).Reason != bbprpc.AwayBusy {
			t.Error(err)
		}
	}
}

func TestCallsGoToTheOtherLitecoindAndComeBack(t *testing.T) {
	t.Parallel()
	first, second := newLitecoind(t), newLitecoind(t)
	first.ready(t)
	second.ready(t)
	first.mine(t, 3) // by its height it is known
	c := newClient(t, bbprpc.Config{Endpoints: []bbprpc.Endpoint{first.endpoint(), second.endpoint()}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	heightIs := func(want int64) {
		t.Helper()
		if height, err := c.BlockCount(ctx); err != nil || height != want {
			t.Errorf("height %d, %v; want %d", height, err, want)
		}
	}
	heightIs(3)
	first.stop(t)
	heightIs(0) // no call is lost
	first.start(t)
	waitFor(t, func() bool { return c.Status()[0].Up })
	heightIs(3)
	cancel()
	<-done
}
