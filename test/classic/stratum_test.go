package classic

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"testing"
	"time"

	"purepool/sim/daemon"
	"purepool/test/house"
)

// line speaks newline-delimited JSON, as a Stratum miner does.
type line struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dial(t *testing.T, address string) *line {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	return &line{t, conn, bufio.NewReaderSize(conn, 1<<20)}
}

// call sends a request and returns the answer to it; notifications in between
// are passed over.
func (l *line) call(id int, method string, params any) (result json.RawMessage, failure json.RawMessage) {
	l.t.Helper()
	request, err := json.Marshal(map[string]any{"id": id, "method": method, "params": params})
	must(l.t, err)
	_, err = l.conn.Write(append(request, '\n'))
	must(l.t, err)
	for {
		text, err := l.in.ReadBytes('\n')
		must(l.t, err)
		var answer struct {
			ID            *int
			Result, Error json.RawMessage
		}
		must(l.t, json.Unmarshal(text, &answer))
		if answer.ID != nil && *answer.ID == id {
			return answer.Result, answer.Error
		}
	}
}

// The classic dialect: the same miner protocol over TCP, the same ledger behind it.
func TestRealSolutionIsCreditedOverStratum(t *testing.T) {
	recording := daemon.Recorded()
	const target = "0000011110000000000000000000000000000000000000000000000000000000"
	h := house.New(t, house.Options{Daemon: daemon.Options{StandAtRecorded: true}, HashTarget: target})
	importWork(t, h, "test", "yhAVN4xwBCxS2QPfXk5cppoxyo2eZHFaop", recording.MinerGUID(), "Default", recording.WorkID(), target)
	h.Run("all")
	l := dial(t, h.Stratum)

	result, failure := l.call(1, "readytomine2", map[string]string{"Miner": "yhAVN4xwBCxS2QPfXk5cppoxyo2eZHFaop/rig7", "NetworkID": "test"})
	var grant map[string]string
	if err := json.Unmarshal(result, &grant); err != nil || grant["HASHTARGET"] != target || grant["MINERGUID"] != recording.MinerGUID() {
		t.Errorf("granted %s, %s", result, failure)
	}
	result, failure = l.call(2, "solution", map[string]string{"Solution": recording.Solution, "NetworkID": "test"})
	if string(failure) != "null" {
		t.Fatalf("the solution was answered %s, %s", result, failure)
	}
	h.Eventually("the share stands in the ledger", 10*time.Second, func() bool { return credited(h) == 1 })

	// The same again, in the words of a generic client, is known.
	if _, failure := l.call(3, "mining.subscribe", []any{"generic/1.0"}); string(failure) != "null" {
		t.Fatalf("subscribe: %s", failure)
	}
	if result, failure := l.call(4, "mining.authorize", []any{"yhAVN4xwBCxS2QPfXk5cppoxyo2eZHFaop.rig7", "x"}); string(result) != "true" {
		t.Fatalf("authorize: %s %s", result, failure)
	}
	_, failure = l.call(5, "mining.submit", []any{"yhAVN4xwBCxS2QPfXk5cppoxyo2eZHFaop.rig7", recording.Solution})
	var e []any
	if err := json.Unmarshal(failure, &e); err != nil || len(e) != 3 || fmt.Sprint(e[0]) != "22" {
		t.Errorf("the same share again: %s", failure)
	}
	if n := credited(h); n != 1 {
		t.Errorf("credited %d times", n)
	}
}
