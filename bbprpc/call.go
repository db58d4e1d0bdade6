package bbprpc

import (
	"encoding/json"
	"slices"
	"strings"
)

// Call is one call of a daemon. Make it with [NewCall] or one of the typed forms
// ([BibleHashCall] and so on), hand it to [Client.Do] or [Client.Batch], then
// read Err. It may be handed in again, by one goroutine at a time.
type Call struct {
	// Err is the call's own outcome: nil where the daemon answered and the result
	// is in its place.
	Err error

	method string
	params []any
	// decode puts a result in its place. An error of it that is neither
	// ErrNoBibleHash nor ErrBlockNotFound nor a *DaemonError means that the
	// answer is garbled.
	decode func(json.RawMessage) error
}

// NewCall makes a call whose result is decoded into result, a pointer, by
// encoding/json; nil discards it. A result of null leaves it alone.
//
// Calls that are known to change nothing (get…, list…, validateaddress, the
// questions among exec, submitblock, which a daemon takes once however often it
// is sent, …) are asked again elsewhere when a daemon is away. Every other call,
// unknown ones included, is taken to have an effect and is not.
func NewCall(method string, result any, params ...any) *Call {
	return newCall(method, func(raw json.RawMessage) error {
		if result == nil {
			return nil
		}
		return json.Unmarshal(raw, result)
	}, params...)
}

func newCall(method string, decode func(json.RawMessage) error, params ...any) *Call {
	if params == nil {
		params = []any{} // JSON-RPC 1.0 wants an array
	}
	return &Call{method: method, params: params, decode: decode}
}

// harmless reports whether the call may be sent again although it may have been
// executed.
func (c *Call) harmless() bool {
	switch c.method {
	case "getnewaddress", "getrawchangeaddress", "getaccountaddress":
		return false // each takes a key from the wallet's pool
	case "exec":
		return slices.Contains(questions(), c.subcommand())
	case "submitblock", "validateaddress", "help", "uptime", "ping":
		return true
	}
	for _, prefix := range []string{"get", "list", "decode", "verify", "estimate"} {
		if strings.HasPrefix(c.method, prefix) {
			return true
		}
	}
	return false
}

// questions are the commands of exec that only ask.
func questions() []string { return []string{"biblehash", "hexblocktocoinbase", "pinfo", "subsidy"} }

func (c *Call) subcommand() string {
	if c.method == "exec" && len(c.params) > 0 {
		if name, ok := c.params[0].(string); ok {
			return name
		}
	}
	return ""
}

// label names the call in metrics; the names are bounded.
func (c *Call) label() string {
	if sub := c.subcommand(); slices.Contains(questions(), sub) {
		return "exec " + sub
	}
	switch c.method {
	case "getblockcount", "getbestblockhash", "getblockhash", "getblock", "getwalletinfo", "getblocktemplate",
		"submitblock", "sendtoaddress", "sendmany", "gettransaction", "listtransactions", "listsinceblock":
		return c.method
	}
	return "other"
}
