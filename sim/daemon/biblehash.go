package daemon

import (
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"purepool/pool/chain"
)

// HashInput is what a BibleHash is computed of.
type HashInput struct {
	BlockHash     [32]byte // X11 of the header, big-endian
	BlockTime     int64    // header time, Unix seconds
	PrevBlockTime int64    // time of the previous block, Unix seconds
	PrevHeight    int64    // height of the previous block
	Nonce         uint32   // header nonce
}

// BibleHash is the stand-in for BibleHash, most significant byte first: the double
// SHA-256 of 64 bytes, which are the block hash (big-endian) and then block
// time, previous block's time, previous height and nonce, each as eight bytes,
// big-endian. The inputs of recorded solutions are answered with their real
// BibleHash. Safe for concurrent use.
func BibleHash(in HashInput) [32]byte {
	if in == recordedInput {
		return recordedHash
	}
	var b [64]byte
	copy(b[:32], in.BlockHash[:])
	binary.BigEndian.PutUint64(b[32:], uint64(in.BlockTime))
	binary.BigEndian.PutUint64(b[40:], uint64(in.PrevBlockTime))
	binary.BigEndian.PutUint64(b[48:], uint64(in.PrevHeight))
	binary.BigEndian.PutUint64(b[56:], uint64(in.Nonce))
	return chain.DoubleSHA256(b[:]) // the digest read from left to right is the number
}

// Recording is the solution that a real client mined on BiblePay's test net in
// February 2018, and what was verified on it.
type Recording struct {
	Solution  string   // the 16 fields, as sent on the wire
	Fields    []string // the same, split
	Recipient string   // the pool's address, which the coinbase pays
	PrevHash  chain.Hash
	Satoshis  int64 // value of the coinbase
	Bits      uint32

	Input     HashInput // what its BibleHash is computed of
	BibleHash [32]byte  // its real BibleHash, big-endian
}

// MinerGUID returns the MINERGUID of the recorded miner.
func (r *Recording) MinerGUID() string { return r.Fields[5] }

// WorkID returns the WORKID that the recorded solution was mined with.
func (r *Recording) WorkID() string { return r.Fields[6] }

//go:embed testdata/testnet-solution-2018.json
var recordingJSON []byte

// The recorded values, constant in all but syntax.
var (
	recordedInput = HashInput{
		BlockHash:     mustHash("4adfaf0c3ad50afecad53ad1e57340e9735bca7d104b2b3565835a346e1c6c96"),
		BlockTime:     1518041523,
		PrevBlockTime: 1518041437,
		PrevHeight:    19309,
		Nonce:         14217,
	}
	recordedHash = mustHash("0000000e5bced1fccc7110dfd386cf461b82852ce4eec5e124ca8f5e5bcc5a11")
)

func mustHash(digits string) (h [32]byte) {
	if n, err := hex.Decode(h[:], []byte(digits)); n != len(h) || err != nil {
		panic("daemon: bad hash in the source: " + digits)
	}
	return h
}

// Recorded returns the recorded solution. It panics if the embedded file is
// broken, which a test excludes.
func Recorded() *Recording {
	var file struct {
		Solution string `json:"solution"`
		Verified struct {
			Recipient string `json:"coinbase_recipient"`
			Satoshis  int64  `json:"coinbase_satoshis"`
			Bits      string `json:"header_bits"`
			PrevHash  string `json:"previous_block_hash"`
		} `json:"verified"`
	}
	if err := json.Unmarshal(recordingJSON, &file); err != nil {
		panic(fmt.Sprintf("daemon: embedded recording: %v", err))
	}
	bits, err := strconv.ParseUint(file.Verified.Bits, 16, 32)
	if err != nil {
		panic(fmt.Sprintf("daemon: embedded recording: %v", err))
	}
	prev, err := chain.ParseHash(file.Verified.PrevHash)
	if err != nil {
		panic(fmt.Sprintf("daemon: embedded recording: %v", err))
	}
	return &Recording{
		Solution:  file.Solution,
		Fields:    strings.Split(file.Solution, ","),
		Recipient: file.Verified.Recipient,
		Satoshis:  file.Verified.Satoshis,
		PrevHash:  prev,
		Bits:      uint32(bits),
		Input:     recordedInput,
		BibleHash: recordedHash,
	}
}

// parseInput reads the five arguments of exec biblehash as the daemon does:
// anything that is no number counts as 0, the nonce is cut to 32 bits, and a
// hash is as many hex digits as there are. ok is false where the daemon would
// leave its BibleHash out.
func parseInput(args []value) (in HashInput, ok bool) {
	hash := args[0].bytes()
	in.BlockHash = looseHash(hash)
	in.BlockTime = looseInt(args[1].bytes())
	in.PrevBlockTime = looseInt(args[2].bytes())
	in.PrevHeight = looseInt(args[3].bytes())
	in.Nonce = uint32(looseInt(args[4].bytes())) // a negative one becomes huge, as there
	return in, len(hash) > 0 && in.BlockTime > 0 && in.PrevBlockTime > 0 && in.PrevHeight >= 0
}

// looseHash is bitcoin's uint256S: blanks and 0x are skipped, the number ends at
// the first character that is no hex digit.
func looseHash(text []byte) (h [32]byte) {
	s := text
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t' || s[0] == '\n' || s[0] == '\r') {
		s = s[1:]
	}
	if len(s) > 1 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') {
		s = s[2:]
	}
	n := 0
	for n < len(s) && unhex(s[n]) < 16 {
		n++
	}
	for i := 0; i < n && i < 64; i++ { // from the last digit on
		h[31-i/2] |= unhex(s[n-1-i]) << (4 * (i % 2))
	}
	return h
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

// looseInt is the client's cdbl for whole numbers: garbage is 0.
func looseInt(text []byte) int64 {
	negative := len(text) > 0 && text[0] == '-'
	if negative {
		text = text[1:]
	}
	if len(text) == 0 || len(text) > 18 {
		return 0
	}
	var n int64
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + int64(c-'0')
	}
	if negative {
		return -n
	}
	return n
}
