package bbprpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

type request struct {
	Version string `json:"jsonrpc"`
	ID      int    `json:"id"`
	Method  string `json:"method"`
	Params  []any  `json:"params"`
}

// encodeCall writes a call as a JSON-RPC 1.0 request.
func encodeCall(c *Call, id int) ([]byte, error) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(request{Version: "1.0", ID: id, Method: c.method, Params: c.params}); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(body.Bytes(), []byte("\n")), nil
}

// answer is one JSON-RPC answer. A result or error of null counts as none, but
// Result then still holds the word null where the key was there.
type answer struct {
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
	ID     json.RawMessage `json:"id"`
}

func (a *answer) failed() bool { return len(a.Error) != 0 && string(a.Error) != "null" }

// id returns the number of the call that is answered; -1 for anything that was
// never sent.
func (a *answer) id() int {
	n, err := strconv.Atoi(string(a.ID))
	if err != nil || n < 0 || strconv.Itoa(n) != string(a.ID) {
		return -1
	}
	return n
}

// outcome is what came back for one call: a result, the daemon's refusal, or
// what was wrong with the answer.
type outcome struct {
	result  json.RawMessage
	refusal *DaemonError
	garbled error
}

func (a *answer) outcome() outcome {
	if !a.failed() {
		if len(a.Result) == 0 {
			return outcome{garbled: errors.New("the answer has neither result nor error")}
		}
		return outcome{result: a.Result}
	}
	var refusal struct {
		Code    *int   `json:"code"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(a.Error, &refusal); err != nil || refusal.Code == nil {
		return outcome{garbled: errors.New("the answer's error has no code and message")}
	}
	return outcome{refusal: &DaemonError{Code: *refusal.Code, Message: printable(refusal.Message)}}
}

// parseSingle reads the answer to one call, sent with id 0.
func parseSingle(body []byte) outcome {
	var a answer
	if err := unmarshalObject(body, &a); err != nil {
		return outcome{garbled: fmt.Errorf("the answer is not JSON-RPC: %w", err)}
	}
	// A daemon that could not read the request's id answers with null.
	if a.id() != 0 && !(a.failed() && string(a.ID) == "null") {
		return outcome{garbled: errors.New("the answer is to another call")}
	}
	return a.outcome()
}

// parseBatch reads the answers to n calls, sent with the ids 0 to n-1, in
// whatever order they come. It always returns n outcomes. A call without an
// answer, or with two, has a garbled one; so have all where the answer as a whole
// is no array, save for a refusal of the batch as a whole, which refuses each.
func parseBatch(body []byte, n int) []outcome {
	all := func(o outcome) []outcome {
		outcomes := make([]outcome, n)
		for i := range outcomes {
			outcomes[i] = o
		}
		return outcomes
	}
	if bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		o := parseSingle(body)
		if o.refusal == nil {
			return all(outcome{garbled: errors.New("the answer to a batch is no array")})
		}
		return all(o)
	}
	var answers []answer
	if err := json.Unmarshal(body, &answers); err != nil {
		return all(outcome{garbled: fmt.Errorf("the answer to a batch is no JSON-RPC: %w", err)})
	}
	outcomes := all(outcome{garbled: errors.New("the call is missing in the answer to its batch")})
	seen := make([]bool, n)
	for i := range answers {
		id := answers[i].id()
		switch {
		case id < 0 || id >= n: // nobody waits for it
		case seen[id]:
			outcomes[id] = outcome{garbled: errors.New("the call is answered twice")}
		default:
			seen[id], outcomes[id] = true, answers[i].outcome()
		}
	}
	return outcomes
}
