package daemon

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// FaultKind is a way in which a daemon fails those who ask it.
type FaultKind string

// The faults. The first four concern whole HTTP requests: they act on a batch if
// they act on any call in it.
const (
	// FaultSlow answers after a delay.
	FaultSlow FaultKind = "slow"
	// FaultHang takes requests and never answers; the connection is cut when the
	// fault ends.
	FaultHang FaultKind = "hang"
	// FaultCut carries the calls out and cuts the connection in the middle of the
	// answer: a payment is made, and nobody learns its id.
	FaultCut FaultKind = "cut"
	// FaultGarbled answers something that is not JSON.
	FaultGarbled FaultKind = "garbled"

	// FaultRefuse closes the port, and the connections that there are. It knows
	// neither a method nor a share.
	FaultRefuse FaultKind = "refuse"
	// FaultStuck stops the chain where it is: strangers' blocks do not arrive,
	// submitted ones are inconclusive. It knows neither a method nor a share.
	FaultStuck FaultKind = "stuck"

	// FaultError answers an RPC error (-32603 unless told otherwise; -28 is a
	// daemon that is still starting).
	FaultError FaultKind = "error"
	// FaultWrongBibleHash lies about exec biblehash.
	FaultWrongBibleHash FaultKind = "wrong-biblehash"
	// FaultWrongRecipient lies about the recipient in exec hexblocktocoinbase.
	FaultWrongRecipient FaultKind = "wrong-recipient"
)

// Fault is one fault that is switched on.
type Fault struct {
	Kind FaultKind
	// Method bounds the fault to calls of this name, as in "sendmany" or "exec
	// biblehash". Empty: all.
	Method string
	// PerMille is how many calls of a thousand it strikes, chosen by the seed.
	// 0: all.
	PerMille int
	// Delay is that of FaultSlow (one second).
	Delay time.Duration
	// Code and Message are those of FaultError.
	Code    int
	Message string
}

// ParseFault reads a fault as it is written on a command line and in the simfault
// call: its kind, then, after a colon, what bounds it, as in
//
//	slow:delay=200ms
//	error:method=exec biblehash,permille=300,code=-28,message=Loading block index...
func ParseFault(text string) (Fault, error) {
	kind, rest, _ := strings.Cut(text, ":")
	f := Fault{Kind: FaultKind(kind)}
	for rest != "" {
		var item string
		item, rest, _ = strings.Cut(rest, ",")
		key, value, ok := strings.Cut(item, "=")
		var err error
		switch {
		case !ok:
			err = fmt.Errorf("%q is not key=value", item)
		case key == "method":
			f.Method = value
		case key == "permille":
			f.PerMille, err = strconv.Atoi(value)
		case key == "delay":
			f.Delay, err = time.ParseDuration(value)
		case key == "code":
			f.Code, err = strconv.Atoi(value)
		case key == "message":
			f.Message = value
		default:
			err = fmt.Errorf("there is no key %q; there are method, permille, delay, code and message", key)
		}
		if err != nil {
			return Fault{}, fmt.Errorf("fault %q: %w", text, err)
		}
	}
	return f, f.check()
}

// String writes the fault as ParseFault reads it.
func (f Fault) String() string {
	var items []string
	add := func(key, value string, set bool) {
		if set {
			items = append(items, key+"="+value)
		}
	}
	add("method", f.Method, f.Method != "")
	add("permille", strconv.Itoa(f.PerMille), f.PerMille != 0)
	add("delay", f.Delay.String(), f.Delay != 0)
	add("code", strconv.Itoa(f.Code), f.Code != 0)
	add("message", f.Message, f.Message != "")
	if len(items) == 0 {
		return string(f.Kind)
	}
	return string(f.Kind) + ":" + strings.Join(items, ",")
}

func (f *Fault) check() error {
	switch f.Kind {
	case FaultSlow, FaultHang, FaultCut, FaultGarbled, FaultError, FaultWrongBibleHash, FaultWrongRecipient:
	case FaultRefuse, FaultStuck:
		if f.Method != "" || f.PerMille != 0 {
			return fmt.Errorf("fault %q knows neither a method nor a share", f.Kind)
		}
	default:
		return fmt.Errorf("there is no fault %q", f.Kind)
	}
	if f.PerMille < 0 || f.PerMille > 1000 {
		return fmt.Errorf("fault %q: permille is not between 0 and 1000", f.Kind)
	}
	if f.Delay < 0 {
		return fmt.Errorf("fault %q: delay is negative", f.Kind)
	}
	return nil
}

// faults is what is switched on at a time. It does not change; another one takes
// its place.
type faults struct {
	admin bool // the call came in on the admin address: the list is empty
	list  []Fault
	seed  uint64
	over  chan struct{} // closed when another set takes its place
	// draws counts the decisions of each fault, so that the same calls in the same
	// order are struck in every run.
	draws []atomic.Uint64
}

func newFaults(seed uint64, list []Fault) *faults {
	return &faults{list: slices.Clone(list), seed: seed, over: make(chan struct{}), draws: make([]atomic.Uint64, len(list))}
}

func (s *faults) has(kind FaultKind) bool {
	return slices.ContainsFunc(s.list, func(f Fault) bool { return f.Kind == kind })
}

// strikes returns the first fault among kinds that strikes a call; nil for none.
func (s *faults) strikes(c *call, kinds ...FaultKind) *Fault {
	for i := range s.list {
		f := &s.list[i]
		if slices.Contains(kinds, f.Kind) && f.concerns(c) && s.draw(i) {
			return f
		}
	}
	return nil
}

func (f *Fault) concerns(c *call) bool {
	switch {
	case f.Method == "" || f.Method == c.method:
		return true
	case len(c.params) == 0:
		return false
	}
	name, sub, ok := strings.Cut(f.Method, " ")
	return ok && name == c.method && sub == string(c.params[0].raw)
}

// draw decides whether fault i strikes this time.
func (s *faults) draw(i int) bool {
	share := s.list[i].PerMille
	if share == 0 || share == 1000 {
		return true
	}
	number := rand.NewPCG(s.seed+uint64(i), s.draws[i].Add(1)).Uint64()
	return int(number%1000) < share
}

// wait is the delay of FaultSlow.
func (f *Fault) wait() time.Duration {
	if f.Delay == 0 {
		return time.Second
	}
	return f.Delay
}

// rpcError is the answer of FaultError.
func (f *Fault) rpcError() *rpcError {
	e := &rpcError{f.Code, f.Message}
	setDefault(&e.code, codeInternal)
	if e.code == codeWarmup {
		setDefault(&e.message, "Loading block index...")
	}
	setDefault(&e.message, "Internal error")
	return e
}
