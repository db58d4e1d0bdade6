package bbprpc

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"purepool/pool/chain"
)

// BibleHashQuery is what the BibleHash of a header depends on.
type BibleHashQuery struct {
	BlockHash     chain.Hash // X11 of the header
	BlockTime     int64      // unix seconds
	PrevBlockTime int64      // unix seconds
	PrevHeight    int64
	Nonce         uint32
}

// BibleHashCall asks for the proof of work of a classic header. out is written
// most significant byte first. Call.Err: [ErrNoBibleHash] where an argument is
// out of the daemon's range.
func BibleHashCall(q BibleHashQuery, out *[32]byte) *Call {
	return newCall("exec", func(raw json.RawMessage) error {
		var answer struct {
			BibleHash *string
		}
		if err := unmarshalObject(raw, &answer); err != nil {
			return err
		}
		if answer.BibleHash == nil {
			return ErrNoBibleHash
		}
		n, err := number256(*answer.BibleHash)
		if err != nil {
			return fmt.Errorf("BibleHash: %w", err)
		}
		*out = n
		return nil
	}, "biblehash", q.BlockHash.String(), decimal(q.BlockTime), decimal(q.PrevBlockTime),
		decimal(q.PrevHeight), decimal(int64(q.Nonce)))
}

// BibleHash is [BibleHashCall], sent.
func (c *Client) BibleHash(ctx context.Context, q BibleHashQuery) (proof [32]byte, err error) {
	err = c.Do(ctx, BibleHashCall(q, &proof))
	return proof, err
}

// CoinbaseInfo is what a daemon reads in a block's coinbase.
type CoinbaseInfo struct {
	TxID chain.Hash
	// BibleHash is the daemon's own, most significant byte first; nil where it
	// gives none.
	BibleHash    *[32]byte
	Subsidy      Amount // the value of the first output, rounded to whole coins
	BlockVersion string
	Recipient    string // the address that the first output pays; may be empty
	// CPIDSigValid and CPIDLegal are nil where the daemon does not say (before
	// version 1.1.1.1c).
	CPIDSigValid, CPIDLegal *bool
	CPIDLegalityNarr        string // why CPIDLegal is false
	BlockMessage            string
}

// HexBlockToCoinbaseCall asks what the coinbase of a block says. Call.Err: a
// refusal with [CodeDeserialization] where the daemon cannot decode the block.
func HexBlockToCoinbaseCall(blockHex, transactionHex string, out *CoinbaseInfo) *Call {
	return newCall("exec", func(raw json.RawMessage) error {
		var answer struct {
			TxID             *string `json:"txid"`
			BibleHash        *string `json:"biblehash"`
			Subsidy          *Amount `json:"subsidy"`
			BlockVersion     text    `json:"blockversion"`
			Recipient        *string `json:"recipient"`
			CPIDSigValid     *truth  `json:"cpid_sig_valid"`
			CPIDLegal        *truth  `json:"cpid_legal"`
			CPIDLegalityNarr text    `json:"cpid_legality_narr"`
			BlockMessage     text    `json:"blockmessage"`
		}
		if err := unmarshalObject(raw, &answer); err != nil {
			return err
		}
		if answer.TxID == nil || answer.Recipient == nil || answer.Subsidy == nil {
			return errors.New("txid, recipient or subsidy is missing")
		}
		txid, err := chain.ParseHash(*answer.TxID)
		if err != nil {
			return fmt.Errorf("txid: %w", err)
		}
		info := CoinbaseInfo{
			TxID: txid, Subsidy: *answer.Subsidy, BlockVersion: string(answer.BlockVersion),
			Recipient: *answer.Recipient, CPIDSigValid: (*bool)(answer.CPIDSigValid), CPIDLegal: (*bool)(answer.CPIDLegal),
			CPIDLegalityNarr: string(answer.CPIDLegalityNarr), BlockMessage: string(answer.BlockMessage),
		}
		if answer.BibleHash != nil && *answer.BibleHash != "" {
			n, err := number256(*answer.BibleHash)
			if err != nil {
				return fmt.Errorf("biblehash: %w", err)
			}
			info.BibleHash = &n
		}
		*out = info
		return nil
	}, "hexblocktocoinbase", blockHex, transactionHex)
}

// HexBlockToCoinbase is [HexBlockToCoinbaseCall], sent.
func (c *Client) HexBlockToCoinbase(ctx context.Context, blockHex, transactionHex string) (info CoinbaseInfo, err error) {
	err = c.Do(ctx, HexBlockToCoinbaseCall(blockHex, transactionHex, &info))
	return info, err
}

// PInfo is the daemon's rule for nonces at this moment.
type PInfo struct {
	Height   int64 // of the tip
	MaxNonce int64 // the highest nonce allowed now
	Elapsed  int64 // seconds since the tip's time
}

// PInfoCall asks for the rule for nonces.
func PInfoCall(out *PInfo) *Call {
	return newCall("exec", func(raw json.RawMessage) error {
		var answer struct {
			Height  *integer `json:"height"`
			PInfo   *integer `json:"pinfo"`
			Elapsed *integer `json:"elapsed"`
		}
		if err := unmarshalObject(raw, &answer); err != nil {
			return err
		}
		if answer.Height == nil || answer.PInfo == nil {
			return errors.New("height or pinfo is missing")
		}
		*out = PInfo{Height: int64(*answer.Height), MaxNonce: int64(*answer.PInfo)}
		if answer.Elapsed != nil {
			out.Elapsed = int64(*answer.Elapsed)
		}
		return nil
	}, "pinfo")
}

// PInfo is [PInfoCall], sent.
func (c *Client) PInfo(ctx context.Context) (info PInfo, err error) {
	err = c.Do(ctx, PInfoCall(&info))
	return info, err
}

// Subsidy is what the daemon knows about the reward of a block.
type Subsidy struct {
	Subsidy      Amount
	Recipient    string
	BlockVersion string
	MinerGUID    string // as it stands in the coinbase; any text
}

// SubsidyCall asks for the reward of the block at a height. Call.Err:
// [ErrBlockNotFound].
func SubsidyCall(height int64, out *Subsidy) *Call {
	return newCall("exec", func(raw json.RawMessage) error {
		var answer struct {
			Error        *string `json:"error"`
			Subsidy      *Amount `json:"subsidy"`
			Recipient    *string `json:"recipient"`
			BlockVersion text    `json:"blockversion"`
			MinerGUID    text    `json:"minerguid"`
		}
		if err := unmarshalObject(raw, &answer); err != nil {
			return err
		}
		switch {
		case answer.Error != nil && *answer.Error == "block not found":
			return ErrBlockNotFound
		case answer.Error != nil:
			return &DaemonError{Message: printable(*answer.Error)}
		case answer.Subsidy == nil || answer.Recipient == nil:
			return errors.New("subsidy or recipient is missing")
		}
		*out = Subsidy{
			Subsidy: *answer.Subsidy, Recipient: *answer.Recipient,
			BlockVersion: string(answer.BlockVersion), MinerGUID: string(answer.MinerGUID),
		}
		return nil
	}, "subsidy", decimal(height))
}

// Subsidy is [SubsidyCall], sent.
func (c *Client) Subsidy(ctx context.Context, height int64) (subsidy Subsidy, err error) {
	err = c.Do(ctx, SubsidyCall(height, &subsidy))
	return subsidy, err
}

// BlockCountCall asks for the height of the tip.
func BlockCountCall(out *int64) *Call {
	return newCall("getblockcount", func(raw json.RawMessage) error {
		return json.Unmarshal(raw, (*integer)(out))
	})
}

// BlockCount is [BlockCountCall], sent.
func (c *Client) BlockCount(ctx context.Context) (height int64, err error) {
	err = c.Do(ctx, BlockCountCall(&height))
	return height, err
}

// BestBlockHash asks for the hash of the tip.
func (c *Client) BestBlockHash(ctx context.Context) (hash chain.Hash, err error) {
	err = c.Do(ctx, newCall("getbestblockhash", intoHash(&hash)))
	return hash, err
}

// BlockHashCall asks for the hash of the block at a height. Call.Err: a refusal
// with [CodeInvalidParameter] where the height is above the tip.
func BlockHashCall(height int64, out *chain.Hash) *Call {
	return newCall("getblockhash", intoHash(out), height)
}

// BlockHash is [BlockHashCall], sent.
func (c *Client) BlockHash(ctx context.Context, height int64) (hash chain.Hash, err error) {
	err = c.Do(ctx, BlockHashCall(height, &hash))
	return hash, err
}

// Block is a block as the daemon describes it.
type Block struct {
	Hash   chain.Hash
	Height int64
	Time   int64 // of the header, unix seconds
	// Prev is zero for the first block of the chain.
	Prev chain.Hash
	// Confirmations counts the tip as 1; -1 for a block that is not on the best
	// chain.
	Confirmations int64
	TxIDs         []chain.Hash
}

// BlockCall asks for a block. Call.Err: a refusal with [CodeInvalidAddress] where
// the daemon does not know it.
func BlockCall(hash chain.Hash, out *Block) *Call {
	return newCall("getblock", func(raw json.RawMessage) error {
		var answer struct {
			Hash          *blockID  `json:"hash"`
			Height        *integer  `json:"height"`
			Time          *integer  `json:"time"`
			Prev          blockID   `json:"previousblockhash"`
			Confirmations *integer  `json:"confirmations"`
			Tx            []blockID `json:"tx"`
		}
		if err := unmarshalObject(raw, &answer); err != nil {
			return err
		}
		if answer.Hash == nil || answer.Height == nil || answer.Time == nil || answer.Confirmations == nil {
			return errors.New("hash, height, time or confirmations is missing")
		}
		if chain.Hash(*answer.Hash) != hash {
			return errors.New("this is another block")
		}
		*out = Block{
			Hash: hash, Height: int64(*answer.Height), Time: int64(*answer.Time),
			Prev: chain.Hash(answer.Prev), Confirmations: int64(*answer.Confirmations),
		}
		for _, id := range answer.Tx {
			out.TxIDs = append(out.TxIDs, chain.Hash(id))
		}
		return nil
	}, hash.String())
}

// Block is [BlockCall], sent.
func (c *Client) Block(ctx context.Context, hash chain.Hash) (block Block, err error) {
	err = c.Do(ctx, BlockCall(hash, &block))
	return block, err
}

// Payment is an order to the wallet to pay one address.
type Payment struct {
	Address            string
	Amount             Amount
	Comment, CommentTo string // kept by the wallet, not on the chain
	SubtractFee        bool   // the network fee is taken from the amount
}

// SendToAddress pays. It is sent at most once: an [*AwayError] without
// NotExecuted means that the wallet may have paid, and must be asked.
func (c *Client) SendToAddress(ctx context.Context, p Payment) (txid chain.Hash, err error) {
	err = c.Do(ctx, newCall("sendtoaddress", intoHash(&txid), p.Address, p.Amount, p.Comment, p.CommentTo, p.SubtractFee))
	return txid, err
}

// WalletInfo is the state of the daemon's wallet.
type WalletInfo struct {
	Balance     Amount // confirmed, spendable
	Unconfirmed Amount
	Immature    Amount // coinbases that are too young to be spent
	TxCount     int64
}

// WalletInfo asks for the state of the wallet.
func (c *Client) WalletInfo(ctx context.Context) (info WalletInfo, err error) {
	err = c.Do(ctx, newCall("getwalletinfo", func(raw json.RawMessage) error {
		var answer struct {
			Balance     *Amount `json:"balance"`
			Unconfirmed Amount  `json:"unconfirmed_balance"`
			Immature    Amount  `json:"immature_balance"`
			TxCount     integer `json:"txcount"`
		}
		if err := unmarshalObject(raw, &answer); err != nil {
			return err
		}
		if answer.Balance == nil {
			return errors.New("balance is missing")
		}
		info = WalletInfo{
			Balance: *answer.Balance, Unconfirmed: answer.Unconfirmed,
			Immature: answer.Immature, TxCount: int64(answer.TxCount),
		}
		return nil
	}))
	return info, err
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

func number256(digits string) (n [32]byte, err error) {
	if len(digits) != 64 {
		return n, fmt.Errorf("%d characters instead of 64 hex digits", len(digits))
	}
	_, err = hex.Decode(n[:], []byte(digits))
	return n, err
}
