package stratum_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"purepool/stratum"
)

func TestFiftyLinesInOneSegment(t *testing.T) {
	p := open(t, nil)
	c := p.dial(t).login(rig)
	var text bytes.Buffer
	for i := range 50 {
		fmt.Fprintf(&text, `{"id":%d,"method":"mining.submit","params":%s}`+"\r\n", i, c.submitParams(rig, uint32(i)))
	}
	if _, err := c.Write(text.Bytes()); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if r := c.answer(); string(r.ID) != fmt.Sprint(i) || string(r.Result) != "true" {
			t.Fatal(r.line)
		}
	}
}

func TestOneLineInFiftySegments(t *testing.T) {
	p := open(t, nil)
	c := p.dial(t).login(rig)
	line := []byte(`{"id":77,"method":"mining.submit","params":` + c.submitParams(rig, 1) + "}\n")
	for len(line) > 0 {
		n := min(len(line), 3)
		if _, err := c.Write(line[:n]); err != nil {
			t.Fatal(err)
		}
		line = line[n:]
		time.Sleep(100 * time.Microsecond)
	}
	if r := c.answer(); string(r.ID) != "77" || string(r.Result) != "true" {
		t.Fatal(r.line)
	}
}

func TestAnySegmentationGivesTheSameAnswers(t *testing.T) {
	p := open(t, nil)
	rng := rand.New(rand.NewPCG(1, 2))
	first := p.dial(t).login(rig)
	for round := range 20 {
		c := p.dial(t)
		// Everything at once, with the login: what comes behind authorize waits for it.
		text := []byte(`{"id":0,"method":"mining.subscribe","params":["","` + first.session + `"]}` + "\n" + `{"id":1,"method":"mining.authorize","params":["` + rig + `","d=1e-12"]}` + "\n\n")
		for i := 2; i < 40; i++ {
			text = fmt.Appendf(text, `{"id":%d,"method":"mining.submit","params":[%q,%q,"%08x","%08x","00000001"]}`+"\n", i, rig, first.jobID(), round<<8+i, p.jobs.now().Time)
		}
		for len(text) > 0 {
			n := min(len(text), 1+rng.IntN(400))
			if _, err := c.Write(text[:n]); err != nil {
				t.Fatal(err)
			}
			text = text[n:]
		}
		for i := range 40 {
			r := c.answer()
			if string(r.ID) != fmt.Sprint(i) || i > 0 && string(r.Result) != "true" {
				t.Fatalf("answer %d: %s", i, r.line)
			}
		}
		_ = c.Close()
	}
	eventually(t, "the memory is given back", func() bool { return p.MemoryLeft() == 256<<20 })
}

func TestEndlessLineIsCutOff(t *testing.T) {
	p := open(t, nil)
	c := p.dial(t)
	chunk := bytes.Repeat([]byte("x"), 4096)
	for range 100 {
		if _, err := c.Write(chunk); err != nil {
			break
		}
	}
	c.closed()
	p.closedFor(t, stratum.ClosedLineTooLong, 1)
	eventually(t, "the memory is given back", func() bool { return p.MemoryLeft() == 256<<20 })
}

func TestJunkIsAnsweredAndThenClosed(t *testing.T) {
	p := open(t, nil)
	for _, junk := range []string{"GET / HTTP/1.1", "\x16\x03\x01\x02\x00\x01", "{", `{"id":1,"method":`, strings.Repeat("[", 10_000), `{"params":` + strings.Repeat(`{"a":`, 2000)} {
		c := p.dial(t)
		for range 10 {
			if _, err := c.Write([]byte(junk + "\n")); err != nil {
				break
			}
		}
		if got := c.closed(); !strings.HasPrefix(got, `{"id":null,"result":null,"error":[20,`) || strings.Count(got, "\n") > 10 {
			t.Errorf("%.20q: %.200q", junk, got)
		}
		if junk == "{" {
			break
		}
	}
	p.closedFor(t, stratum.ClosedJunk, 3)
}

func TestEndlessQuestionsAreClosed(t *testing.T) {
	p := open(t, nil)
	c := p.dial(t).login(rig)
	for range 30 { // within bounds
		c.ask("mining.ping", "[]")
	}
	_, _ = c.Write([]byte(strings.Repeat(`{"id":2,"method":"mining.ping"}`+"\n", 1000)))
	c.closed()
	p.closedFor(t, stratum.ClosedFlood, 1)
}

func TestFloodBehindAnUndecidedWorkerIsClosed(t *testing.T) {
	release := make(chan struct{})
	p := open(t, nil)
	p.door.hold(release)
	c := p.dial(t)
	c.send(`{"id":1,"method":"mining.authorize","params":[%q]}`, rig)
	ping := []byte(strings.Repeat(`{"id":2,"method":"mining.ping"}`+"\n", 1000))
	for range 20 {
		if _, err := c.Write(ping); err != nil {
			break
		}
	}
	c.closed()
	close(release)
	p.closedFor(t, stratum.ClosedFlood, 1)
}
