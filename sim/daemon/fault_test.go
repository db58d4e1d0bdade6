package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const countCall = `{"method":"getblockcount","params":[],"id":1}`

func set(t *testing.T, d *Daemon, list ...Fault) {
	t.Helper()
	if err := d.SetFaults(list...); err != nil {
		t.Fatal(err)
	}
}

func TestRefusingDaemonComesBackOnTheSamePort(t *testing.T) {
	t.Parallel()
	d, c := start(t, Options{})
	addr := d.Addr()
	c.raw("getblockcount") // leaves a connection open
	for range 3 {
		set(t, d, Fault{Kind: FaultRefuse})
		c.http.CloseIdleConnections()
		if _, _, err := c.post(countCall); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("while away: %v", err)
		}
		set(t, d)
		equal(t, "address", d.Addr(), addr)
		equal(t, "count", c.raw("getblockcount"), "0")
	}
}

func TestDaemonCanStartRefusing(t *testing.T) {
	t.Parallel()
	d, c := start(t, Options{Faults: []Fault{{Kind: FaultRefuse}}})
	if _, _, err := c.post(countCall); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("while away: %v", err)
	}
	set(t, d)
	equal(t, "count", c.raw("getblockcount"), "0")
}

func TestHangingDaemonLetsGoWhenTheFaultEnds(t *testing.T) {
	t.Parallel()
	d, c := start(t, Options{})
	set(t, d, Fault{Kind: FaultHang, Method: "getblockcount"})
	equal(t, "other call", c.raw("getblockhash", 0), `"`+d.Chain().Tip().Hash.String()+`"`)

	failed := make(chan error, 1)
	go func() {
		_, _, err := c.post(countCall)
		failed <- err
	}()
	select {
	case err := <-failed:
		t.Fatalf("answered: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	set(t, d)
	if err := <-failed; err == nil {
		t.Fatal("the hanging call was answered")
	}
	equal(t, "count", c.raw("getblockcount"), "0")
}

func TestHangingDaemonCanBeStopped(t *testing.T) {
	t.Parallel()
	d, stop, err := Start(Options{Faults: []Fault{{Kind: FaultHang}}})
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, d, d.URL())
	failed := make(chan error, 1)
	go func() {
		_, _, err := c.post(countCall)
		failed <- err
	}()
	time.Sleep(20 * time.Millisecond)
	stop()
	if <-failed == nil {
		t.Fatal("answered")
	}
}

func TestCutPaymentIsMadeAndNobodyLearnsItsID(t *testing.T) {
	t.Parallel()
	d, c := start(t, Options{Funds: 500_000_000})
	set(t, d, Fault{Kind: FaultCut, Method: "sendtoaddress"})
	_, answer, err := c.post(`{"method":"sendtoaddress","params":["` + d.PoolAddress() + `","1.0","tag"],"id":1}`)
	if !errors.Is(err, io.ErrUnexpectedEOF) || answer == "" {
		t.Fatalf("answered %q, %v", answer, err)
	}
	var list []struct {
		Comment string
		Amount  json.Number
	}
	c.decode(&list, "listtransactions")
	if len(list) != 1 || list[0].Comment != "tag" || list[0].Amount != "-1.00000000" {
		t.Errorf("wallet: %+v", list)
	}
}

func TestGarbledAnswerIsNoJSON(t *testing.T) {
	t.Parallel()
	d, c := start(t, Options{})
	set(t, d, Fault{Kind: FaultGarbled})
	status, answer, err := c.post(countCall)
	if err != nil || status != http.StatusOK || json.Valid([]byte(answer)) {
		t.Errorf("%d %q %v", status, answer, err)
	}
}

func TestSlowDaemonAnswersLate(t *testing.T) {
	t.Parallel()
	d, c := start(t, Options{})
	set(t, d, Fault{Kind: FaultSlow, Delay: 80 * time.Millisecond})
	begin := time.Now()
	equal(t, "count", c.raw("getblockcount"), "0")
	if took := time.Since(begin); took < 80*time.Millisecond {
		t.Errorf("took %v", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, http.MethodPost, c.url, strings.NewReader(countCall))
	r.SetBasicAuth(d.Credentials())
	if _, err := c.http.Do(r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("impatient caller: %v", err)
	}
}

func TestErrorsStrikeTheirMethodAlone(t *testing.T) {
	t.Parallel()
	d, c := start(t, Options{})
	set(t, d, Fault{Kind: FaultError, Method: "exec pinfo", Code: -28})
	status, answer := c.call("exec", "pinfo")
	equal(t, "status", status, 500)
	equal(t, "answer", answer, `{"result":null,"error":{"code":-28,"message":"Loading block index..."},"id":"t"}`+"\n")
	equal(t, "subsidy", c.raw("exec", "subsidy", "0"), `{"Command":"subsidy","error":"block not found"}`)

	set(t, d, Fault{Kind: FaultError})
	_, answer = c.call("getblockcount")
	equal(t, "answer", answer, `{"result":null,"error":{"code":-32603,"message":"Internal error"},"id":"t"}`+"\n")
}

func TestShareOfErrorsIsTheSameInEveryRun(t *testing.T) {
	t.Parallel()
	run := func(seed uint64) (pattern string) {
		d, c := start(t, Options{Seed: seed, Faults: []Fault{{Kind: FaultError, PerMille: 300}}})
		_ = d
		for range 200 {
			if status, _ := c.call("getblockcount"); status == http.StatusOK {
				pattern += "."
			} else {
				pattern += "x"
			}
		}
		return pattern
	}
	one := run(1)
	equal(t, "second run", run(1), one)
	if run(2) == one {
		t.Error("another seed gives the same errors")
	}
	if n := strings.Count(one, "x"); n < 40 || n > 80 {
		t.Errorf("%d of 200 calls failed, 60 were to", n)
	}
}

func TestLyingDaemon(t *testing.T) {
	t.Parallel()
	d, c, r := recordedDaemon(t, Options{})
	set(t, d, Fault{Kind: FaultWrongBibleHash}, Fault{Kind: FaultWrongRecipient})
	var hash struct{ BibleHash string }
	c.decode(&hash, "exec", "biblehash", r.Fields[0], r.Fields[1], r.Fields[2], r.Fields[3], r.Fields[13])
	equal(t, "hash", hash.BibleHash, r.Fields[4][:62]+"10")
	var coinbase struct{ Recipient string }
	c.decode(&coinbase, "exec", "hexblocktocoinbase", r.Fields[14], r.Fields[15])
	if coinbase.Recipient == r.Recipient || len(coinbase.Recipient) != 34 {
		t.Errorf("recipient %s", coinbase.Recipient)
	}
}

func TestStuckDaemonKeepsItsTip(t *testing.T) {
	t.Parallel()
	d, c := start(t, Options{})
	set(t, d, Fault{Kind: FaultStuck})
	if b := d.MineStranger(); b != nil {
		t.Errorf("block %d was found", b.Height)
	}
	set(t, d)
	d.MineStranger()
	equal(t, "count", c.raw("getblockcount"), "1")
}

func TestAdminAddressIsNeverAway(t *testing.T) {
	t.Parallel()
	d, c := start(t, Options{AdminListen: "127.0.0.1:0"})
	admin := connect(t, d, "http://"+d.AdminAddr()+"/")
	equal(t, "refuse", admin.raw("simfault", "refuse", "error:code=-28"), "null")
	if _, _, err := c.post(countCall); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("while away: %v", err)
	}
	equal(t, "mine", admin.raw("simmine", 5), "5")
	equal(t, "reorg", admin.raw("simreorg", 2), `"`+d.Chain().Tip().Hash.String()+`"`)
	equal(t, "height", admin.raw("getblockcount"), "6")
	status, answer := admin.call("simfault", "slow:delay=soon")
	equal(t, "bad fault", status, 500)
	if !strings.Contains(answer, `"code":-8`) {
		t.Errorf("answered %s", answer)
	}
	equal(t, "clear", admin.raw("simfault"), "null")
	equal(t, "count", c.raw("getblockcount"), "6")
}

func TestFaultsAreReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"refuse", "stuck", "slow:delay=200ms", "wrong-biblehash",
		"error:method=exec biblehash,permille=300,code=-28,message=Loading wallet...",
	} {
		f, err := ParseFault(text)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "fault", f.String(), text)
	}
	for _, text := range []string{
		"", "odd", "slow:delay", "slow:delay=x", "error:permille=1001", "error:permille=x", "refuse:method=exec",
		"slow:delay=-1s", "error:colour=red", "error:code=x",
	} {
		if _, err := ParseFault(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestFaultsCanChangeUnderLoad(t *testing.T) {
	t.Parallel()
	d, _ := start(t, Options{BlockInterval: 10 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			c := connect(t, d, d.URL())
			for ctx.Err() == nil {
				_, _, _ = c.post(`[` + countCall + `,{"method":"exec","params":["pinfo"],"id":2}]`)
			}
		})
	}
	for i := 0; ctx.Err() == nil; i++ {
		list := [][]Fault{
			{{Kind: FaultRefuse}},
			nil,
			{{Kind: FaultHang, PerMille: 500}},
			{{Kind: FaultCut}, {Kind: FaultStuck}},
			{{Kind: FaultError, PerMille: 10}, {Kind: FaultGarbled}},
			nil,
		}
		set(t, d, list[i%len(list)]...)
		d.Chain().Reorg(i % 4)
		time.Sleep(5 * time.Millisecond)
	}
	wg.Wait()
	set(t, d)
	connect(t, d, d.URL()).raw("getblockcount")
}
