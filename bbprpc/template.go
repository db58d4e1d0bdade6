package bbprpc

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"purepool/pool/chain"
)

// Codes with which a daemon says that it has no template now.
const (
	CodeNotConnected    = -9  // it has no peers
	CodeInitialDownload = -10 // it is still fetching the chain, or its tip is old
)

// longPollEnd is how long one long poll lasts at most. A daemon answers at a new
// tip; until then it keeps one of its threads, also after the caller has left
// (Bitcoin's rpc/mining.cpp), so that leaving early and asking again would use
// up all of them.
const longPollEnd = time.Hour

// BlockTemplate is a daemon's answer to getblocktemplate.
type BlockTemplate struct {
	chain.Template
	// LongPollID is to be handed to [Client.LongPoll]; empty where the daemon has no
	// long polling.
	LongPollID string
	// Proposals says that the daemon checks proposed blocks ([Client.Propose]).
	Proposals bool
}

// templateRequest is the argument of getblocktemplate (BIP 22, 23 and 9).
type templateRequest struct {
	Rules        []string `json:"rules,omitempty"`
	Capabilities []string `json:"capabilities,omitempty"`
	LongPollID   string   `json:"longpollid,omitempty"`
	Mode         string   `json:"mode,omitempty"`
	Data         string   `json:"data,omitempty"`
}

// BlockTemplateCall asks what the next block must hold. rules are those that the
// pool knows, a property of the network: none for BiblePay, mweb and segwit for
// Litecoin. Call.Err: refusals with CodeNotConnected or CodeInitialDownload.
func BlockTemplateCall(rules []string, out *BlockTemplate) *Call {
	return templateCall(rules, "", out)
}

func templateCall(rules []string, longPollID string, out *BlockTemplate) *Call {
	return newCall("getblocktemplate", func(raw json.RawMessage) error {
		t, err := ParseTemplate(raw, rules)
		if err == nil {
			*out = *t
		}
		return err
	}, templateRequest{
		Rules: rules, LongPollID: longPollID,
		Capabilities: []string{"proposal", "longpoll", "coinbasevalue"},
	})
}

// BlockTemplate is [BlockTemplateCall], sent.
func (c *Client) BlockTemplate(ctx context.Context, rules []string) (t BlockTemplate, err error) {
	err = c.Do(ctx, BlockTemplateCall(rules, &t))
	return t, err
}

// LongPoll waits until the daemon has a better template than the one of
// longPollID: as a rule until there is a new tip. It does not count among the
// client's exchanges in flight, and takes up to an hour, after which its error
// is that of a call that was given up ([AwayCancelled]). Ask one single daemon (see
// [Client.Daemons]).
func (c *Client) LongPoll(ctx context.Context, rules []string, longPollID string) (t BlockTemplate, err error) {
	// A deadline of the context would count as the daemon's silence; leaving does not.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	over := time.AfterFunc(longPollEnd, cancel)
	defer over.Stop()
	patient := *c
	patient.cfg.Timeout = 2 * longPollEnd
	patient.slots = make(chan struct{}, 1)
	err = patient.Do(ctx, templateCall(rules, longPollID, &t))
	return t, err
}

// Propose asks whether a block would be accepted if it had a proof of work
// (BIP 23). The reason is empty where it would.
func (c *Client) Propose(ctx context.Context, rules []string, block []byte) (reason string, err error) {
	err = c.Do(ctx, newCall("getblocktemplate", intoVerdict(&reason), templateRequest{
		Rules: rules, Mode: "proposal", Data: hex.EncodeToString(block),
	}))
	return reason, err
}

// intoVerdict reads the answer about a block: null, or a text that is no
// refusal of the call but what the daemon thinks of the block.
func intoVerdict(out *string) func(json.RawMessage) error {
	return func(raw json.RawMessage) error {
		var text *string
		if err := json.Unmarshal(raw, &text); err != nil {
			return err
		}
		*out = ""
		if text != nil {
			if *text == "" {
				return errors.New("the answer about a block is empty")
			}
			*out = printable(*text)
		}
		return nil
	}
}

// Submission is one daemon's answer to a block.
type Submission struct {
	Endpoint string // the daemon's URL without credentials
	// Verdict is empty where the daemon took the block, and else its reason:
	// duplicate, inconclusive, high-hash, … (docs/PROTOCOL.md, "submitblock").
	Verdict string
	Err     error // as that of every call; the verdict is then empty
}

// SubmitEverywhere hands a block to all daemons at once, those that are believed
// to be away included. The channel brings each one's answer as it comes and is
// then closed; it holds all of them, so that nobody has to wait at it.
func (c *Client) SubmitEverywhere(ctx context.Context, block []byte) <-chan Submission {
	answers := make(chan Submission, len(c.endpoints))
	text := hex.EncodeToString(block)
	var all sync.WaitGroup
	for _, e := range c.endpoints {
		all.Go(func() {
			s := Submission{Endpoint: e.name}
			call := newCall("submitblock", intoVerdict(&s.Verdict), text)
			// Slots of their own: no other call is waited for.
			direct := *c
			direct.slots = make(chan struct{}, 1)
			for ch := range direct.chunks([]*Call{call}) {
				direct.attempt(ctx, e, ch, []int{0})
			}
			direct.metrics.count(call)
			s.Err = call.Err
			answers <- s
		})
	}
	go func() {
		all.Wait()
		close(answers)
	}()
	return answers
}

// Daemons returns a client for each daemon, in order of preference, that asks
// this one only. They share connections, metrics and what is known of the
// daemons with c; closing c closes them.
func (c *Client) Daemons() []*Client {
	all := make([]*Client, len(c.endpoints))
	for i, e := range c.endpoints {
		one := *c
		one.endpoints = []*endpoint{e}
		one.slots = make(chan struct{}, c.cfg.MaxInFlight)
		all[i] = &one
	}
	return all
}

// Name returns the URL of the preferred daemon, without credentials.
func (c *Client) Name() string { return c.endpoints[0].name }

// satoshis is a whole number of satoshis. getblocktemplate, unlike the wallet,
// counts in them.
type satoshis int64

func (s *satoshis) UnmarshalJSON(raw []byte) error {
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < 0 {
		return fmt.Errorf("%w: %q", ErrAmount, printable(string(raw)))
	}
	*s = satoshis(n)
	return nil
}

// hexBytes are bytes written in hex.
type hexBytes []byte

func (h *hexBytes) UnmarshalJSON(raw []byte) error {
	var digits string
	if err := json.Unmarshal(raw, &digits); err != nil {
		return err
	}
	b, err := hex.DecodeString(digits)
	*h = b
	return err
}

type templatePayee struct {
	Script hexBytes  `json:"script"`
	Amount *satoshis `json:"amount"`
}

// payees is a list of payees; one alone, as Dash wrote it before 2018; or none,
// which daemons write in several ways.
type payees []templatePayee

func (p *payees) UnmarshalJSON(raw []byte) error {
	switch {
	case bytes.HasPrefix(raw, []byte("[")):
		return json.Unmarshal(raw, (*[]templatePayee)(p))
	case bytes.HasPrefix(raw, []byte("{")):
		var one templatePayee
		if err := json.Unmarshal(raw, &one); err != nil {
			return err
		}
		if one.Amount != nil {
			*p = payees{one}
		}
		return nil
	case string(raw) == "null" || string(raw) == `""`:
		return nil
	}
	return fmt.Errorf("%q is no list of payees", printable(string(raw)))
}

// template is getblocktemplate as daemons write it.
type template struct {
	Version      *integer `json:"version"`
	Rules        []string `json:"rules"`
	Prev         *blockID `json:"previousblockhash"`
	Transactions *[]struct {
		Data hexBytes `json:"data"`
		TxID *blockID `json:"txid"` // BiblePay has none: hash is it
		Hash *blockID `json:"hash"`
	} `json:"transactions"`
	Aux        map[string]hexBytes `json:"coinbaseaux"`
	Value      *satoshis           `json:"coinbasevalue"`
	LongPollID string              `json:"longpollid"`
	MinTime    *integer            `json:"mintime"`
	Time       *integer            `json:"curtime"`
	Bits       *string             `json:"bits"`
	Height     *integer            `json:"height"`
	Commitment hexBytes            `json:"default_witness_commitment"`
	MWEB       hexBytes            `json:"mweb"`
	Masternode payees              `json:"masternode"`
	Superblock payees              `json:"superblock"`
	Payload    hexBytes            `json:"coinbase_payload"`
	Able       []string            `json:"capabilities"`
}

// ParseTemplate reads a getblocktemplate answer. Its errors say what is missing,
// or which rule the chain has that is not among rules.
func ParseTemplate(raw []byte, rules []string) (*BlockTemplate, error) {
	var t template
	if err := unmarshalObject(raw, &t); err != nil {
		return nil, err
	}
	if t.Version == nil || t.Prev == nil || t.Transactions == nil || t.Value == nil || t.MinTime == nil ||
		t.Time == nil || t.Bits == nil || t.Height == nil {
		return nil, errors.New("the template has no version, previousblockhash, transactions, coinbasevalue, mintime, curtime, bits or height")
	}
	for _, rule := range t.Rules {
		if needed, ok := strings.CutPrefix(rule, "!"); ok && !slices.Contains(rules, needed) {
			return nil, fmt.Errorf("the chain has the rule %q, which this network is not configured for", printable(needed))
		}
	}
	out := &BlockTemplate{LongPollID: t.LongPollID, Proposals: slices.Contains(t.Able, "proposal")}
	out.Prev, out.Value = chain.Hash(*t.Prev), int64(*t.Value)
	out.Payload, out.WitnessCommitment, out.Extension = t.Payload, t.Commitment, t.MWEB
	if err := t.numbers(&out.Template); err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(t.Aux)) {
		out.Aux = append(out.Aux, t.Aux[key]...)
	}
	for i, tx := range *t.Transactions {
		id := tx.TxID
		if id == nil {
			id = tx.Hash
		}
		if id == nil || len(tx.Data) == 0 {
			return nil, fmt.Errorf("transaction %d of the template has no data or no id", i)
		}
		out.Transactions = append(out.Transactions, chain.TemplateTransaction{Data: tx.Data, ID: chain.Hash(*id)})
	}
	for _, p := range slices.Concat(t.Masternode, t.Superblock) {
		if p.Amount == nil || len(p.Script) == 0 {
			return nil, errors.New("a payee of the template has no script or no amount")
		}
		out.Payees = append(out.Payees, chain.Payee{Script: p.Script, Value: int64(*p.Amount)})
	}
	return out, nil
}

// numbers reads what must fit into 32 bits.
func (t *template) numbers(out *chain.Template) error {
	bits, err := strconv.ParseUint(*t.Bits, 16, 32)
	if err != nil || len(*t.Bits) != 8 {
		return fmt.Errorf("bits %q are not eight hex digits", printable(*t.Bits))
	}
	out.Bits = uint32(bits)
	// Versions are signed in the daemon; its bits are what counts.
	if v := int64(*t.Version); v < -1<<31 || v >= 1<<32 {
		return fmt.Errorf("version %d is out of range", v)
	}
	out.Version = uint32(*t.Version)
	if h := int64(*t.Height); h < 0 || h >= 1<<31 {
		return fmt.Errorf("height %d is out of range", h)
	}
	out.Height = int32(*t.Height)
	for _, moment := range []integer{*t.Time, *t.MinTime} {
		if moment < 0 || moment >= 1<<32 {
			return fmt.Errorf("time %d is out of range", moment)
		}
	}
	out.Time, out.MinTime = uint32(*t.Time), uint32(*t.MinTime)
	return nil
}
