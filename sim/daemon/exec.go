package daemon

import (
	"encoding/hex"
	"strconv"
	"strings"

	"purepool/pool/chain"
)

// exec is the client's exec, which names the command in its first argument and
// repeats it in its answer. All arguments are strings.
func (d *Daemon) exec(dst []byte, c *call, f *faults) ([]byte, *rpcError) {
	if len(c.params) == 0 || len(c.params) > 7 {
		return dst, &rpcError{codeMisc, "exec <string::itemname> <string::parameter> \r\n" +
			"Executes an RPC command by name. run exec COMMAND for more info \r\nAvailable Commands:\r\n"}
	}
	for i := range c.params {
		if c.params[i].kind != kindString {
			return dst, &rpcError{codeMisc, "JSON value is not a string as expected"}
		}
	}
	args := c.params[1:]
	switch string(c.params[0].raw) {
	case "biblehash":
		return d.execBibleHash(dst, c, args, f)
	case "hexblocktocoinbase":
		return d.execCoinbase(dst, c, args, f)
	case "pinfo":
		return d.execPinfo(dst), nil
	case "subsidy":
		return d.execSubsidy(dst, args)
	case "":
		return dst, &rpcError{codeMisc, "Command argument invalid."}
	}
	dst = appendText(dst, `{"Command":`, c.params[0].string())
	return append(dst, `,"Error":"Command not found."}`...), nil
}

func (d *Daemon) execBibleHash(dst []byte, c *call, args []value, f *faults) ([]byte, *rpcError) {
	if len(args) != 5 {
		return dst, &rpcError{codeMisc, "You must specify blockhash, blocktime, prevblocktime, prevheight, and nonce " +
			"IE: run biblehash blockhash 12345 12234 100 256."}
	}
	dst = append(dst, `{"Command":"biblehash"`...)
	in, ok := parseInput(args)
	if !ok {
		return append(dst, '}'), nil
	}
	hash := BibleHash(in)
	if f.strikes(c, FaultWrongBibleHash) != nil {
		hash[31] ^= 1
	}
	dst = appendHex(append(dst, `,"BibleHash":"`...), hash[:])
	return append(dst, `"}`...), nil
}

// execCoinbase tells what the coinbase of a block in hex says. As in the client,
// its biblehash is that of the block on the daemon's own tip.
func (d *Daemon) execCoinbase(dst []byte, c *call, args []value, f *faults) ([]byte, *rpcError) {
	if len(args) == 0 {
		return dst, &rpcError{codeMisc, "JSON value is not a string as expected"}
	}
	block, err := chain.DecodeBlockHex(args[0].bytes())
	if err != nil {
		return dst, &rpcError{codeDecode, "Block decode failed"}
	}
	coinbase := &block.Transactions[0]
	id := coinbase.TxID()
	if d.opts.RequireCoinbase && !isTransaction(args, id) {
		return dst, &rpcError{codeDecode, "TX decode failed"}
	}
	message := coinbaseMessage(coinbase)
	paid := recipient(coinbase, d.network)
	if f.strikes(c, FaultWrongRecipient) != nil {
		paid = poolAddress(d.opts.Seed+1, d.network)
	}
	dst = appendHash(append(dst, `{"Command":"hexblocktocoinbase","txid":"`...), id)
	dst = append(dst, `","biblehash":"`...)
	hash := d.hashOnTip(block)
	dst = appendHex(dst, hash[:])
	dst = appendInt(dst, `","subsidy":`, coinbase.Outputs[0].Value/chain.Coin)
	dst = appendText(dst, `,"blockversion":`, string(chain.Tag(coinbase.Outputs[0].Message, "VER")))
	dst = appendText(dst, `,"recipient":`, paid)
	if d.opts.CPID != CPIDOutdated {
		valid, legal, narr := judgeCPID(d.opts.CPID, message)
		dst = strconv.AppendBool(append(dst, `,"cpid_sig_valid":`...), valid)
		dst = strconv.AppendBool(append(dst, `,"cpid_legal":`...), legal)
		dst = appendText(dst, `,"cpid_legality_narr":`, narr)
	}
	dst = appendText(dst, `,"blockmessage":`, string(message))
	return append(dst, '}'), nil
}

func isTransaction(args []value, id chain.Hash) bool {
	if len(args) < 2 {
		return false
	}
	tx, err := chain.DecodeTransactionHex(args[1].bytes())
	return err == nil && tx.TxID() == id
}

// hashOnTip is the BibleHash of a block as if it stood on the tip.
func (d *Daemon) hashOnTip(block *chain.Block) (zero [32]byte) {
	if d.opts.Instant {
		return zero
	}
	tip := d.chain.Tip()
	return BibleHash(HashInput{
		BlockHash: d.chain.hash(&block.Header), BlockTime: int64(block.Header.Time),
		PrevBlockTime: int64(tip.Header.Time), PrevHeight: tip.Height, Nonce: block.Header.Nonce,
	})
}

func (d *Daemon) execPinfo(dst []byte) []byte {
	tip := d.chain.Tip()
	elapsed := d.opts.Now().Unix() - int64(tip.Header.Time)
	dst = appendInt(dst, `{"Command":"pinfo","height":`, tip.Height)
	dst = appendInt(dst, `,"pinfo":`, nonceRule(elapsed))
	dst = appendInt(dst, `,"elapsed":`, elapsed)
	return append(dst, '}')
}

func (d *Daemon) execSubsidy(dst []byte, args []value) ([]byte, *rpcError) {
	if len(args) != 1 {
		return dst, &rpcError{codeMisc, "You must specify height."}
	}
	dst = append(dst, `{"Command":"subsidy",`...)
	height := looseInt(args[0].bytes())
	b := d.chain.At(height)
	if height < 1 || b == nil {
		return append(dst, `"error":"block not found"}`...), nil
	}
	dst = appendInt(dst, `"subsidy":`, b.Value/chain.Coin)
	dst = appendText(dst, `,"recipient":`, b.Recipient)
	dst = appendText(dst, `,"blockversion":`, b.Version)
	// 1.1.3.8 becomes 1138.
	dst = appendInt(dst, `,"blockversion2":`, looseInt([]byte(strings.ReplaceAll(b.Version, ".", ""))))
	dst = appendText(dst, `,"minerguid":`, b.MinerGUID)
	return append(dst, '}'), nil
}

// appendHash appends a hash as it is printed.
func appendHash(dst []byte, h chain.Hash) []byte {
	d := h.Display()
	return hex.AppendEncode(dst, d[:])
}
