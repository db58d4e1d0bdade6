package bbprpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"purepool/pool/chain"
)

// CoinbaseOutput is one output of a coinbase.
type CoinbaseOutput struct {
	Address string // empty where it pays no single address
	Amount  Amount
	Message string // BiblePay's output message; empty where there is none
}

// FullBlock is a block with what its header and its coinbase say.
type FullBlock struct {
	Block
	Bits  uint32 // compact target
	Nonce uint32
	// Coinbase is the id of the first transaction.
	Coinbase chain.Hash
	// Outputs are those of the coinbase; nil where they were not asked for.
	Outputs []CoinbaseOutput
}

// FullBlockCall asks for a block; with outputs (verbosity 2, which the daemons of
// the classic age do not know) also for what its coinbase pays. Call.Err: a
// refusal with [CodeInvalidAddress] where the daemon does not know the block.
func FullBlockCall(hash chain.Hash, outputs bool, out *FullBlock) *Call {
	params := []any{hash.String()}
	if outputs {
		params = append(params, 2)
	}
	return newCall("getblock", func(raw json.RawMessage) error {
		block, err := decodeFullBlock(raw, hash, outputs)
		if err == nil {
			*out = block
		}
		return err
	}, params...)
}

type fullTx struct {
	TxID blockID `json:"txid"`
	Vout []struct {
		Value   Amount `json:"value"`
		Message string `json:"txoutmessage"`
		Script  struct {
			Address   string   `json:"address"`
			Addresses []string `json:"addresses"`
		} `json:"scriptPubKey"`
	} `json:"vout"`
}

func decodeFullBlock(raw json.RawMessage, hash chain.Hash, outputs bool) (FullBlock, error) {
	var answer struct {
		Hash          *blockID          `json:"hash"`
		Height        *integer          `json:"height"`
		Time          *integer          `json:"time"`
		Prev          blockID           `json:"previousblockhash"`
		Confirmations *integer          `json:"confirmations"`
		Bits          string            `json:"bits"`
		Nonce         integer           `json:"nonce"`
		Tx            []json.RawMessage `json:"tx"`
	}
	if err := unmarshalObject(raw, &answer); err != nil {
		return FullBlock{}, err
	}
	if answer.Hash == nil || answer.Height == nil || answer.Time == nil || answer.Confirmations == nil || len(answer.Tx) == 0 {
		return FullBlock{}, errors.New("hash, height, time, confirmations or tx is missing")
	}
	if chain.Hash(*answer.Hash) != hash {
		return FullBlock{}, errors.New("this is another block")
	}
	bits, err := strconv.ParseUint(answer.Bits, 16, 32)
	if err != nil || answer.Nonce < 0 || answer.Nonce > 1<<32-1 {
		return FullBlock{}, errors.New("bits or nonce is no number of 32 bits")
	}
	block := FullBlock{
		Block: Block{
			Hash: hash, Height: int64(*answer.Height), Time: int64(*answer.Time), Prev: chain.Hash(answer.Prev),
			Confirmations: int64(*answer.Confirmations),
		},
		Bits: uint32(bits), Nonce: uint32(answer.Nonce),
	}
	first := bytes.TrimLeft(answer.Tx[0], " \t\r\n")
	if !outputs {
		return block, json.Unmarshal(first, (*blockID)(&block.Coinbase))
	}
	var coinbase fullTx
	if err := unmarshalObject(first, &coinbase); err != nil {
		return FullBlock{}, fmt.Errorf("coinbase: %w", err)
	}
	block.Coinbase = chain.Hash(coinbase.TxID)
	for _, o := range coinbase.Vout {
		address := o.Script.Address
		if address == "" && len(o.Script.Addresses) == 1 {
			address = o.Script.Addresses[0]
		}
		block.Outputs = append(block.Outputs, CoinbaseOutput{Address: address, Amount: o.Value, Message: o.Message})
	}
	return block, nil
}
