package bbprpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"purepool/pool/chain"
)

// Codes with which a wallet says no (Bitcoin's rpc/protocol.h).
const (
	CodeType            = -3  // a parameter of the wrong type, an amount out of range
	CodeWallet          = -4  // any other trouble of the wallet, also after it has made a transaction
	CodeUnlockNeeded    = -13 // the wallet is locked
	CodeWrongPassphrase = -14
	CodeInvalidParams   = -32602
)

// WalletFamily says which arguments a daemon's sendmany takes; a property of the
// network (docs/PROTOCOL.md, "Wallet").
type WalletFamily string

// The families.
const (
	// FamilyDash is BiblePay's and Dash's: sendmany "" {…} minconf addlocked
	// comment [subtractfeefrom].
	FamilyDash WalletFamily = "dash"
	// FamilyBitcoin is Bitcoin's and Litecoin's: sendmany "" {…} minconf comment
	// [subtractfeefrom].
	FamilyBitcoin WalletFamily = "bitcoin"
)

// Output is one recipient of a batch.
type Output struct {
	Address string
	Amount  Amount
}

// PaymentBatch is an order to the wallet to pay many addresses with one
// transaction.
type PaymentBatch struct {
	Family  WalletFamily
	Outputs []Output // each address once
	// MinConf is how many confirmations a coin must have to be spent; 1 where
	// zero.
	MinConf int
	// Comment is kept by the wallet, not on the chain. The transaction is found
	// again by it.
	Comment string
	// SubtractFee takes the network fee from the outputs in equal parts;
	// otherwise the wallet pays it on top.
	SubtractFee bool
}

// SendMany pays. It is sent at most once: an [*AwayError] without NotExecuted
// means that the wallet may have paid, and must be asked. Refusals: see
// [Harmless].
func (c *Client) SendMany(ctx context.Context, batch PaymentBatch) (txid chain.Hash, err error) {
	outputs, err := encodeOutputs(batch.Outputs)
	if err != nil {
		return chain.Hash{}, err
	}
	minConf := batch.MinConf
	if minConf == 0 {
		minConf = 1
	}
	params := []any{"", outputs, minConf}
	switch batch.Family {
	case FamilyDash:
		params = append(params, false) // addlocked: none of the coins that are only locked by masternodes
	case FamilyBitcoin:
	default:
		return chain.Hash{}, fmt.Errorf("%w: there is no wallet family %q", ErrConfig, batch.Family)
	}
	params = append(params, batch.Comment)
	if batch.SubtractFee {
		from := make([]string, len(batch.Outputs))
		for i := range batch.Outputs {
			from[i] = batch.Outputs[i].Address
		}
		params = append(params, from)
	}
	err = c.Do(ctx, newCall("sendmany", intoHash(&txid), params...))
	return txid, err
}

// encodeOutputs writes {"address": amount, …} in the order given. Two outputs of
// one address would be one key twice, of which daemons take either.
func encodeOutputs(outputs []Output) (json.RawMessage, error) {
	seen := make(map[string]bool, len(outputs))
	var text bytes.Buffer
	text.WriteByte('{')
	for i, o := range outputs {
		switch {
		case seen[o.Address]:
			return nil, fmt.Errorf("%w: a batch pays %s twice", ErrConfig, printable(o.Address))
		case o.Amount <= 0:
			return nil, fmt.Errorf("%w: a batch pays %s to %s", ErrConfig, o.Amount, printable(o.Address))
		}
		seen[o.Address] = true
		if i > 0 {
			text.WriteByte(',')
		}
		key, err := json.Marshal(o.Address)
		if err != nil {
			return nil, err
		}
		text.Write(key)
		text.WriteByte(':')
		text.WriteString(o.Amount.String())
	}
	text.WriteByte('}')
	return text.Bytes(), nil
}

// Harmless reports whether the error of a payment means for certain that the
// wallet has made no transaction: the call was not executed, or was refused for
// its arguments, for want of coins or of the passphrase. Any other refusal (-4
// above all, with which old wallets also answer when the transaction is made but
// was not taken by their own node) and any silence mean that the wallet must be
// asked.
func Harmless(err error) bool {
	var away *AwayError
	if errors.As(err, &away) {
		return away.NotExecuted
	}
	var refusal *DaemonError
	if !errors.As(err, &refusal) {
		return errors.Is(err, ErrConfig) // never sent
	}
	switch refusal.Code {
	case CodeType, CodeInvalidAddress, CodeInsufficient, CodeInvalidParameter, CodeUnlockNeeded,
		CodeMethodNotFound, CodeInvalidParams, CodeInvalidRequest:
		return true
	}
	return false
}

// WalletEntry is one line of the wallet's book: an output that it has sent or
// received.
type WalletEntry struct {
	TxID     chain.Hash
	Address  string // may be empty
	Category string // send, receive, generate, immature, orphan, …
	Amount   Amount // negative for send
	// Confirmations is negative for a transaction that conflicts with one in the
	// chain: minus the depth of that one.
	Confirmations int64
	Abandoned     bool
	Comment       string
	Time          int64 // unix seconds, by the wallet's clock
}

type entryJSON struct {
	TxID          blockID  `json:"txid"`
	Address       string   `json:"address"`
	Category      string   `json:"category"`
	Amount        *Amount  `json:"amount"`
	Confirmations *integer `json:"confirmations"`
	Abandoned     bool     `json:"abandoned"`
	Comment       string   `json:"comment"`
	Time          integer  `json:"time"`
}

func (e *entryJSON) entry() (WalletEntry, error) {
	if e.Amount == nil {
		return WalletEntry{}, errors.New("an entry has no amount")
	}
	w := WalletEntry{
		TxID: chain.Hash(e.TxID), Address: e.Address, Category: e.Category, Amount: *e.Amount,
		Abandoned: e.Abandoned, Comment: e.Comment, Time: int64(e.Time),
	}
	if e.Confirmations != nil {
		w.Confirmations = int64(*e.Confirmations)
	}
	return w, nil
}

// WalletEntries returns count lines of the wallet's book, the oldest first, that
// come before its newest skip lines. Fewer mean that the book begins there.
func (c *Client) WalletEntries(ctx context.Context, count, skip int) (list []WalletEntry, err error) {
	err = c.Do(ctx, newCall("listtransactions", func(raw json.RawMessage) error {
		list, err = decodeEntries(raw)
		return err
	}, "*", count, skip))
	return list, err
}

// WalletSince returns the lines of the wallet's book that stand in no block up
// to the given one, unconfirmed ones included. Not every daemon's comments are
// in order of time.
func (c *Client) WalletSince(ctx context.Context, block chain.Hash) (list []WalletEntry, err error) {
	err = c.Do(ctx, newCall("listsinceblock", func(raw json.RawMessage) error {
		var answer struct {
			Transactions json.RawMessage `json:"transactions"`
		}
		if err := unmarshalObject(raw, &answer); err != nil {
			return err
		}
		list, err = decodeEntries(answer.Transactions)
		return err
	}, block.String()))
	return list, err
}

func decodeEntries(raw json.RawMessage) ([]WalletEntry, error) {
	if !bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte("[")) {
		return nil, errors.New("the wallet's book is no list")
	}
	var answer []entryJSON
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, err
	}
	list := make([]WalletEntry, len(answer))
	for i := range answer {
		var err error
		if list[i], err = answer[i].entry(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// WalletTransaction is a transaction as the wallet has it in its book.
type WalletTransaction struct {
	TxID chain.Hash
	// Fee is what the network took; zero or positive, and nothing where the
	// wallet has not paid.
	Fee Amount
	// Confirmations: see [WalletEntry].
	Confirmations int64
	Abandoned     bool // given up by the wallet's owner
	Comment       string
	Conflicts     []chain.Hash // transactions that spend the same coins
	Details       []WalletEntry
}

// WalletTransaction asks the wallet for a transaction of its own. A refusal with
// [CodeInvalidAddress]: it has none of this id.
func (c *Client) WalletTransaction(ctx context.Context, txid chain.Hash) (tx WalletTransaction, err error) {
	err = c.Do(ctx, newCall("gettransaction", func(raw json.RawMessage) error {
		var answer struct {
			TxID          *blockID    `json:"txid"`
			Fee           Amount      `json:"fee"`
			Confirmations *integer    `json:"confirmations"`
			Comment       string      `json:"comment"`
			Conflicts     []blockID   `json:"walletconflicts"`
			Details       []entryJSON `json:"details"`
		}
		if err := unmarshalObject(raw, &answer); err != nil {
			return err
		}
		if answer.TxID == nil || answer.Confirmations == nil || chain.Hash(*answer.TxID) != txid {
			return errors.New("txid or confirmations is missing or another's")
		}
		tx = WalletTransaction{
			TxID: txid, Fee: max(-answer.Fee, 0), Confirmations: int64(*answer.Confirmations), Comment: answer.Comment,
		}
		for _, id := range answer.Conflicts {
			tx.Conflicts = append(tx.Conflicts, chain.Hash(id))
		}
		for i := range answer.Details {
			e, err := answer.Details[i].entry()
			if err != nil {
				return err
			}
			tx.Abandoned = tx.Abandoned || e.Abandoned
			tx.Details = append(tx.Details, e)
		}
		return nil
	}, txid.String()))
	return tx, err
}

// Codes with which a node answers to a transaction that is handed to it.
const (
	CodeTxRejected = -26 // by its rules
	CodeTxInChain  = -27 // it is in the chain already
)

// Rebroadcast hands a transaction of the wallet to the network again. That never
// pays twice: it is the same transaction. Refusals: [CodeTxRejected],
// [CodeTxInChain], -25 where its coins are spent or not there.
func (c *Client) Rebroadcast(ctx context.Context, txid chain.Hash) error {
	var tx struct {
		Hex string `json:"hex"`
	}
	if err := c.Do(ctx, NewCall("gettransaction", &tx, txid.String())); err != nil {
		return err
	}
	return c.Do(ctx, NewCall("sendrawtransaction", nil, tx.Hex))
}

// UnlockWallet opens an encrypted wallet for some seconds. Refusals: code
// [CodeWrongPassphrase]; -15 where the wallet is not encrypted.
func (c *Client) UnlockWallet(ctx context.Context, passphrase string, seconds int) error {
	return c.Do(ctx, newCall("walletpassphrase", func(json.RawMessage) error { return nil }, passphrase, seconds))
}

// LockWallet closes an encrypted wallet again.
func (c *Client) LockWallet(ctx context.Context) error {
	return c.Do(ctx, newCall("walletlock", func(json.RawMessage) error { return nil }))
}

// Coins is what the wallet can spend now.
type Coins struct {
	Count, Locked  int
	Total, Largest Amount
}

// Coins counts what the wallet can spend, from minConf confirmations on, and
// what its owner has locked (lockunspent).
func (c *Client) Coins(ctx context.Context, minConf int) (coins Coins, err error) {
	var unspent []struct {
		Amount Amount `json:"amount"`
	}
	var locked []json.RawMessage
	calls := []*Call{NewCall("listunspent", &unspent, minConf), NewCall("listlockunspent", &locked)}
	if err := c.Batch(ctx, calls); err != nil {
		return Coins{}, err
	}
	for _, call := range calls {
		if call.Err != nil {
			return Coins{}, call.Err
		}
	}
	coins.Count, coins.Locked = len(unspent), len(locked)
	for _, u := range unspent {
		coins.Total += u.Amount
		coins.Largest = max(coins.Largest, u.Amount)
	}
	return coins, nil
}

// ChainState is how far a daemon is.
type ChainState struct {
	Blocks, Headers int64
	Best            chain.Hash
	InitialDownload bool // false where the daemon does not say
}

// Synced reports whether the daemon has all blocks that it has heard of.
func (s ChainState) Synced() bool { return !s.InitialDownload && s.Blocks >= s.Headers }

// ChainState asks how far the daemon is.
func (c *Client) ChainState(ctx context.Context) (state ChainState, err error) {
	err = c.Do(ctx, newCall("getblockchaininfo", func(raw json.RawMessage) error {
		var answer struct {
			Blocks  *integer `json:"blocks"`
			Headers *integer `json:"headers"`
			Best    *blockID `json:"bestblockhash"`
			Initial bool     `json:"initialblockdownload"`
		}
		if err := unmarshalObject(raw, &answer); err != nil {
			return err
		}
		if answer.Blocks == nil || answer.Headers == nil || answer.Best == nil {
			return errors.New("blocks, headers or bestblockhash is missing")
		}
		state = ChainState{
			Blocks: int64(*answer.Blocks), Headers: int64(*answer.Headers), Best: chain.Hash(*answer.Best), InitialDownload: answer.Initial,
		}
		return nil
	}))
	return state, err
}
