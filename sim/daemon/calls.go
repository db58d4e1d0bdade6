package daemon

import (
	"encoding/hex"
	"fmt"
	"math/big"
	"strconv"

	"purepool/pool/chain"
)

// do carries a call out and appends its result. Where it fails, what was appended
// is not to be used.
func (d *Daemon) do(dst []byte, c *call, f *faults) ([]byte, *rpcError) {
	switch c.method {
	case "exec":
		return d.exec(dst, c, f)
	case "getblockcount":
		return appendInt(dst, "", d.chain.Tip().Height), nil
	case "getbestblockhash":
		return appendString(dst, d.chain.Tip().Hash.String()), nil
	case "getblockhash":
		return d.getBlockHash(dst, c)
	case "getblock":
		return d.getBlock(dst, c)
	case "getblockchaininfo":
		return d.getBlockchainInfo(dst), nil
	case "getnetworkinfo":
		return d.getNetworkInfo(dst), nil
	case "submitblock":
		return d.submitBlock(dst, c)
	case "validateaddress":
		return d.validateAddress(dst, c)
	case "simtemplate":
		return d.simTemplate(dst), nil
	case "getwalletinfo", "getbalance", "sendtoaddress", "sendmany", "listtransactions", "gettransaction":
		return d.walletCall(dst, c)
	}
	if f.admin {
		return d.adminCall(dst, c)
	}
	return dst, &rpcError{codeMethod, "Method not found"}
}

func (d *Daemon) getBlockHash(dst []byte, c *call) ([]byte, *rpcError) {
	height, err := c.int(0)
	if err != nil {
		return dst, err
	}
	b := d.chain.At(height)
	if b == nil {
		return dst, &rpcError{codeParameter, "Block height out of range"}
	}
	return appendString(dst, b.Hash.String()), nil
}

func (d *Daemon) getBlock(dst []byte, c *call) ([]byte, *rpcError) {
	text, failed := c.text(0)
	if failed != nil {
		return dst, failed
	}
	hash, err := chain.ParseHash(text)
	if err != nil {
		return dst, &rpcError{codeParameter, "blockhash must be of length 64 (not " + strconv.Itoa(len(text)) + ")"}
	}
	b, confirmations := d.chain.ByHash(hash)
	if b == nil {
		return dst, &rpcError{codeAddressOrKey, "Block not found"}
	}
	if v := c.param(1); v.kind == kindFalse || v.kind == kindNumber && string(v.raw) == "0" {
		if b.Raw == nil {
			return dst, &rpcError{codeInternal, "Can't read block from disk"}
		}
		return append(appendHex(append(dst, '"'), b.Raw), '"'), nil
	}
	return d.appendBlock(dst, b, confirmations), nil
}

func (d *Daemon) appendBlock(dst []byte, b *Block, confirmations int64) []byte {
	dst = appendText(dst, `{"hash":`, b.Hash.String())
	dst = appendInt(dst, `,"confirmations":`, confirmations)
	dst = appendInt(dst, `,"size":`, int64(len(b.Raw)))
	dst = appendInt(dst, `,"height":`, b.Height)
	dst = appendInt(dst, `,"version":`, int64(b.Header.Version))
	dst = appendText(dst, `,"merkleroot":`, b.Header.MerkleRoot.String())
	dst = append(dst, `,"tx":[`...)
	for i, id := range b.TxIDs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, id.String())
	}
	dst = appendInt(dst, `],"time":`, int64(b.Header.Time))
	dst = appendInt(dst, `,"mediantime":`, d.chain.median(b))
	dst = appendInt(dst, `,"nonce":`, int64(b.Header.Nonce))
	dst = fmt.Appendf(dst, `,"bits":"%08x"`, b.Header.Bits)
	dst = d.appendWork(dst, b)
	if !b.Header.Prev.IsZero() {
		dst = appendText(dst, `,"previousblockhash":`, b.Header.Prev.String())
	}
	if next := d.chain.At(b.Height + 1); next != nil && confirmations > 0 {
		dst = appendText(dst, `,"nextblockhash":`, next.Hash.String())
	}
	return append(dst, '}')
}

// appendWork appends difficulty, and the chain's work up to a block.
func (d *Daemon) appendWork(dst []byte, b *Block) []byte {
	work := new(big.Int).Mul(d.chain.target.ExpectedHashes(), big.NewInt(b.Height+1))
	dst = append(dst, `,"difficulty":`...)
	dst = strconv.AppendFloat(dst, difficulty(b.Header.Bits), 'g', 16, 64)
	return fmt.Appendf(dst, `,"chainwork":"%064x"`, work)
}

// difficulty is the daemon's GetDifficulty: for show, nothing is decided by it.
func difficulty(bits uint32) float64 {
	diff := float64(0x0000ffff) / float64(bits&0x00ffffff)
	for shift := bits >> 24; shift < 29; shift++ {
		diff *= 256
	}
	for shift := bits >> 24; shift > 29; shift-- {
		diff /= 256
	}
	return diff
}

func (d *Daemon) getBlockchainInfo(dst []byte) []byte {
	tip := d.chain.Tip()
	dst = appendText(dst, `{"chain":`, d.opts.Network)
	dst = appendInt(dst, `,"blocks":`, tip.Height)
	dst = appendInt(dst, `,"headers":`, tip.Height)
	dst = appendText(dst, `,"bestblockhash":`, tip.Hash.String())
	dst = appendInt(dst, `,"mediantime":`, d.chain.median(tip))
	dst = append(dst, `,"verificationprogress":1`...)
	dst = d.appendWork(dst, tip)
	return append(dst, `,"pruned":false}`...)
}

func (d *Daemon) getNetworkInfo(dst []byte) []byte {
	return append(dst, `{"version":1010308,"subversion":"/Biblepay Core:1.1.3.8/","protocolversion":70717,`+
		`"localservices":"0000000000000005","timeoffset":0,"connections":8,"networks":[],`+
		`"relayfee":0.00010000,"localaddresses":[],"warnings":""}`...)
}

func (d *Daemon) submitBlock(dst []byte, c *call) ([]byte, *rpcError) {
	text, failed := c.text(0)
	if failed != nil {
		return dst, failed
	}
	raw, err := hex.DecodeString(text)
	if err != nil {
		return dst, &rpcError{codeDecode, "Block decode failed"}
	}
	reason, err := d.chain.Submit(raw)
	if err != nil {
		return dst, &rpcError{codeDecode, "Block decode failed"}
	}
	if reason != "" {
		return appendString(dst, reason), nil
	}
	return append(dst, "null"...), nil
}

func (d *Daemon) validateAddress(dst []byte, c *call) ([]byte, *rpcError) {
	text, failed := c.text(0)
	if failed != nil {
		return dst, failed
	}
	address, err := chain.DecodeAddress(text, d.network)
	if err != nil {
		return append(dst, `{"isvalid":false}`...), nil //nolint:nilerr // that it is none is the answer
	}
	dst = appendText(dst, `{"isvalid":true,"address":`, text)
	dst = appendText(dst, `,"scriptPubKey":`, hex.EncodeToString(address.PayScript()))
	dst = strconv.AppendBool(append(dst, `,"ismine":`...), text == d.opts.PoolAddress)
	dst = strconv.AppendBool(append(dst, `,"iswatchonly":false,"isscript":`...), address.Kind() == chain.ScriptHash)
	return append(dst, '}'), nil
}

// param returns a parameter, null where it is missing.
func (c *call) param(i int) value {
	if i >= len(c.params) {
		return value{kind: kindNull}
	}
	return c.params[i]
}

// text returns a parameter that must be a string.
func (c *call) text(i int) (string, *rpcError) {
	v := c.param(i)
	if v.kind != kindString {
		return "", &rpcError{codeMisc, "JSON value is not a string as expected"}
	}
	return v.string(), nil
}

// int returns a parameter that must be a whole number.
func (c *call) int(i int) (int64, *rpcError) {
	v := c.param(i)
	n, err := strconv.ParseInt(string(v.raw), 10, 32)
	if v.kind != kindNumber || err != nil {
		return 0, &rpcError{codeMisc, "JSON value is not an integer as expected"}
	}
	return n, nil
}

func appendText(dst []byte, key, text string) []byte {
	return appendString(append(dst, key...), text)
}
