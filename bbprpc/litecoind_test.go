package bbprpc_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"purepool/bbprpc"
	"purepool/bbprpc/litecoindtest"
)

// litecoind is a real daemon, alone on its regression test chain.
type litecoind struct{ *litecoindtest.Node }

func newLitecoind(t *testing.T, extra ...string) litecoind {
	t.Helper()
	return litecoind{litecoindtest.New(t, litecoindtest.Options{Args: extra})}
}

// client is a new one, which knows nothing yet.
func (d litecoind) client(t *testing.T) *bbprpc.Client {
	t.Helper()
	return newClient(t, bbprpc.Config{Endpoints: []bbprpc.Endpoint{d.Endpoint()}})
}

// reasons waits until the daemon answers and returns in what ways it was away
// before that.
func (d litecoind) reasons(t *testing.T) map[bbprpc.Reason]bool {
	t.Helper()
	seen := make(map[bbprpc.Reason]bool)
	waitFor(t, func() bool {
		c, err := bbprpc.New(bbprpc.Config{Endpoints: []bbprpc.Endpoint{d.Endpoint()}}) // one that leaves nobody alone
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
func (d litecoind) mine(t *testing.T, blocks int) (address string) {
	t.Helper()
	_ = d.Try("createwallet", nil, "pool") // may be there
	address = d.Address()
	d.Generate(blocks, address)
	return address
}

func TestLitecoindThatStartsIsAway(t *testing.T) {
	t.Parallel()
	d := newLitecoind(t)
	// It warms up for a fraction of a second, which a busy machine can miss.
	const starts = 50
	for range starts {
		d.Kill()
		d.Start()
		if d.reasons(t)[bbprpc.AwayWarmingUp] {
			return
		}
	}
	t.Errorf("in %d starts it never said that it warms up", starts)
}

func TestLitecoindIsAskedAndPays(t *testing.T) {
	t.Parallel()
	d := newLitecoind(t)
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
	d := litecoindtest.New(t, litecoindtest.Options{User: "pool", Password: "secret"})
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: d.URL, User: "pool", PasswordFile: file}}})
	waitFor(t, func() bool { _, err := c.BlockCount(t.Context()); return err == nil })
	_, err := newClient(t, bbprpc.Config{Endpoints: []bbprpc.Endpoint{{URL: d.URL, User: "pool", Password: "wrong"}}}).BlockCount(t.Context())
	if away := asAway(t, err); away.Reason != bbprpc.AwayCredentials || !away.NotExecuted {
		t.Errorf("away = %+v", away)
	}
}

func TestLitecoindIsReachedAgainWithTheCookieOfItsNextStart(t *testing.T) {
	t.Parallel()
	d := newLitecoind(t)
	c := d.client(t)
	if _, err := c.BlockCount(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.Kill()
	_, err := c.BlockCount(t.Context())
	asAway(t, err)
	d.Start()
	waitFor(t, func() bool { _, err := c.BlockCount(t.Context()); return err == nil })
}

func TestLitecoindKilledInTheMiddleOfACallIsAway(t *testing.T) {
	t.Parallel()
	d := newLitecoind(t)
	c := d.client(t)
	done := make(chan error)
	go func() { done <- c.Do(t.Context(), bbprpc.NewCall("waitfornewblock", nil, 0)) }()
	waitFor(t, func() bool { return d.busy(t) >= 2 }) // the call and the question
	d.Kill()
	if away := asAway(t, <-done); away.Reason != bbprpc.AwayBroken || away.NotExecuted {
		t.Errorf("away = %+v", away)
	}
}

// busy returns how many calls the daemon is working on.
func (d litecoind) busy(t *testing.T) int {
	t.Helper()
	var info struct {
		ActiveCommands []any `json:"active_commands"`
	}
	d.Call("getrpcinfo", &info)
	return len(info.ActiveCommands)
}

func TestLitecoindWithAFullWorkQueueIsAway(t *testing.T) {
	t.Parallel()
	d := newLitecoind(t, "-rpcthreads=1", "-rpcworkqueue=1")
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
	first.mine(t, 3) // by its height it is known
	c := newClient(t, bbprpc.Config{Endpoints: []bbprpc.Endpoint{first.Endpoint(), second.Endpoint()}})
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
	first.Stop()
	heightIs(0) // no call is lost
	first.Start()
	waitFor(t, func() bool { return c.Status()[0].Up })
	heightIs(3)
	cancel()
	<-done
}
