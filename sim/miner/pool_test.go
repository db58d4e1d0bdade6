package miner

import (
	"bufio"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"purepool/pool/chain"
	"purepool/pool/pow"
	"purepool/pool/solution"
	"purepool/sim/daemon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testGUID = "11111111-1111-4111-8111-111111111111"
	testWork = "aaaaaaaa-0000-4000-8000-000000000001"
	// Every 64th hash will do.
	testTarget = "03ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
)

// testPool is a tiny pool on a real socket. It knows one miner and one piece of
// work, judges what comes in on its own, and keeps its verdicts.
type testPool struct {
	t        *testing.T
	listener net.Listener
	node     *daemon.Daemon

	mu       sync.Mutex
	seen     map[string]bool
	verdicts map[string]string // by proof: empty for a credited share
	asked    int
	answer   func(action string) (text string, ok bool) // overrides the answers
	wg       sync.WaitGroup
}

func newTestPool(t *testing.T) *testPool {
	t.Helper()
	node, err := daemon.New(daemon.Options{History: 10, Bits: 0x1d00ffff})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &testPool{t: t, listener: l, node: node, seen: map[string]bool{}, verdicts: map[string]string{}}
	p.wg.Go(p.serve)
	t.Cleanup(func() {
		l.Close()
		p.wg.Wait()
		node.Close()
	})
	return p
}

func (p *testPool) client() *Client {
	c, err := NewClient("http://" + p.listener.Addr().String())
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

func (p *testPool) serve() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() {
			defer conn.Close()
			r := textproto.NewReader(bufio.NewReader(conn))
			if _, err := r.ReadLine(); err != nil {
				return
			}
			head, err := r.ReadMIMEHeader()
			if err != nil {
				return
			}
			text := p.handle(http.Header(head))
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n"+text)
		})
	}
}

// verdict returns what became of a share.
func (p *testPool) verdict(s *Solution) (reason string, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	reason, known = p.verdicts[hex.EncodeToString(s.Proof[:])]
	return reason, known
}

// timesAsked returns how often work was given.
func (p *testPool) timesAsked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

func refuse(text string) string {
	return "<RESPONSE>" + text + "</RESPONSE><ERROR>" + text + "</ERROR><EOF>"
}

func (p *testPool) handle(h http.Header) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.answer != nil {
		if text, ok := p.answer(h.Get("Action")); ok {
			return text
		}
	}
	switch {
	case h.Get("Action") != "readytomine2" && h.Get("Action") != "solution":
		return refuse("UNKNOWN ACTION " + h.Get("Action"))
	case h.Get("NetworkID") != "regtest":
		return refuse("Invalid network")
	case h.Get("Action") == "readytomine2":
		p.asked++
		return "<RESPONSE> <ADDRESS>" + p.node.PoolAddress() + "</ADDRESS><HASHTARGET>" + testTarget +
			"</HASHTARGET><MINERGUID>" + testGUID + "</MINERGUID><WORKID>" + testWork + "</WORKID></RESPONSE>"
	case h["Solution"] == nil:
		return refuse("Solution is missing")
	}
	s, err := solution.Parse([]byte(h.Get("Solution")))
	switch {
	case err != nil && strings.Count(h.Get("Solution"), ",") < 15:
		return refuse("Invalit Solution")
	case err != nil:
		return refuse("Solution is invalid: " + err.Error())
	case s.MinerID.String() != testGUID || s.WorkID.String() != testWork:
		return refuse("Work X was not given to miner Y")
	}
	proof := hex.EncodeToString(s.BibleHash[:])
	if target, _ := pow.ParseTarget(testTarget); !target.MetBy(s.BibleHash) {
		return refuse("HashTargetExceeded")
	}
	if p.seen[proof] {
		return refuse("BibleHashAlreadyKnown")
	}
	p.seen[proof] = true
	p.verdicts[proof] = p.judge(s)
	return "<RESPONSE><STATUS>ok</STATUS><WORKID>" + testWork + "</WORKID></RESPONSE><END></HTML>"
}

// judge is the classic validation, in the order of docs/PROTOCOL.md.
func (p *testPool) judge(s *solution.Solution) string {
	in := daemon.HashInput{
		BlockHash: s.BlockHash, BlockTime: int64(s.BlockTime), PrevBlockTime: int64(s.PrevBlockTime),
		PrevHeight: int64(s.PrevHeight), Nonce: s.Nonce,
	}
	if daemon.BibleHash(in) != s.BibleHash {
		return "BibleHashWrong"
	}
	block, err := chain.DecodeBlockHex(s.BlockHex)
	if err != nil {
		return "TransactionInvalid"
	}
	tx, err := chain.DecodeTransactionHex(s.TransHex)
	if err != nil {
		return "TransactionInvalid"
	}
	coinbase, err := block.Coinbase()
	header := block.Header.Bytes()
	message := coinbase.Outputs[0].Message
	total, _ := coinbase.TotalOut()
	pool, _ := chain.DecodeAddress(p.node.PoolAddress(), chain.BiblePayRegtest())
	paid, _ := chain.ScriptAddress(coinbase.Outputs[0].Script, chain.BiblePayRegtest())
	tip := p.node.Chain().Tip()
	sig := string(chain.Tag(message, "cpidsig"))
	parts := append(strings.SplitN(sig, ";", 3), "", "")
	switch {
	case err != nil:
		return "TransactionInvalid"
	case tx.TxID() != coinbase.TxID():
		return "TransactionTampered: Not the coinbase"
	case block.Header.Time != s.BlockTime:
		return "BlockTimeWrong"
	case block.Header.Nonce != s.Nonce:
		return "NonceWrong"
	case block.Check() != nil:
		return "MerkleRootWrong"
	case coinbase.MinerGUID() != testGUID:
		return "MinerGuidWrong"
	case pow.X11().NewHasher().Hash(header[:]) != s.BlockHash:
		return "BlockHashWrong"
	case paid != pool:
		return "TransactionTampered: Invalid recipient"
	case coinbase.PaidTo(pool.PayScript()) < total/2:
		return "TransactionTampered: Pool paid too little"
	case sig != daemon.SignCPID(parts[0], parts[1]):
		return "Invalid_CPID"
	case parts[0] == daemon.IllegalCPID:
		return "Illegal_CPID"
	case int64(s.PrevHeight) != tip.Height:
		return "TransactionTampered: Wrong height"
	case block.Header.Prev != tip.Hash:
		return "PrevBlockHashWrong"
	case s.Nonce > 999_999_999: // the highest that any tip allows
		return "TransactionTampered: Nonce height wrong"
	case s.PrevBlockTime != tip.Header.Time:
		return "PrevBlockTimeWrong"
	}
	return ""
}
