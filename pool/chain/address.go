package chain

import (
	"crypto/sha256"
	"strings"

	"github.com/btcsuite/btcd/address/v2/base58"
	//lint:ignore SA1019 addresses are made of this hash, good or not
	"golang.org/x/crypto/ripemd160"
)

const (
	base58Alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

	// An address is 25 bytes: version, 20-byte hash, 4-byte checksum. In base58
	// that takes 25 (all zero) to 35 characters, 34 for every BiblePay address.
	addressBytes    = 1 + 20 + 4
	addressMinChars = 25
	addressMaxChars = 35
)

// AddressKind says what an address is the hash of.
type AddressKind uint8

// The kinds of addresses.
const (
	// PubKeyHash addresses are paid by the owner of a key.
	PubKeyHash AddressKind = iota + 1
	// ScriptHash addresses are paid by who satisfies a script.
	ScriptHash
)

// Address is a decoded address. It is comparable: two addresses are the same
// exactly when their text is, since base58check writes every address in one way
// only. The zero Address is none.
type Address struct {
	kind    AddressKind
	version byte
	hash    [20]byte
}

// DecodeAddress reads a base58check address of the given network. An address
// that is returned can be paid on that network; its text is 25 to 35 ASCII
// letters and digits. The errors are [*Error] of the kinds [ErrAddressEmpty],
// [ErrAddressCharacter], [ErrAddressLength], [ErrAddressChecksum] and
// [ErrAddressNetwork], and their text is meant for the miner who typed it.
func DecodeAddress(text string, network Network) (Address, error) {
	payload, version, err := decodeBase58Check(text)
	if err != nil {
		return Address{}, err
	}
	a := Address{version: version, hash: payload}
	switch version {
	case network.PubKeyHashVersion:
		a.kind = PubKeyHash
	case network.ScriptHashVersion:
		a.kind = ScriptHash
	default:
		return Address{}, fail(ErrAddressNetwork, "address %s is %s, this is the %s network of %s",
			text, describeVersion(version), network.Name, network.Coin)
	}
	return a, nil
}

func decodeBase58Check(text string) (payload [20]byte, version byte, err error) {
	switch {
	case text == "":
		return payload, 0, fail(ErrAddressEmpty, "the address is empty")
	case len(text) > addressMaxChars:
		return payload, 0, fail(ErrAddressLength, "address %+q is too long: an address has 34 characters, this has %d", clip(text), len(text))
	}
	for i := range len(text) {
		if strings.IndexByte(base58Alphabet, text[i]) < 0 {
			return payload, 0, fail(ErrAddressCharacter, "address %+q holds %+q at position %d, which no address does", text, text[i:i+1], i+1)
		}
	}
	if len(text) < addressMinChars {
		return payload, 0, fail(ErrAddressLength, "address %s is too short: an address has 34 characters, this has %d", text, len(text))
	}
	// The length is checked before the checksum: a person who lost a character
	// should read about the length.
	if n := len(base58.Decode(text)); n != addressBytes {
		return payload, 0, fail(ErrAddressLength, "address %s has the wrong length: it holds %d bytes, an address holds %d", text, n, addressBytes)
	}
	body, version, err := base58.CheckDecode(text)
	if err != nil {
		return payload, 0, fail(ErrAddressChecksum, "address %s has a wrong checksum: it was mistyped", text)
	}
	return [20]byte(body), version, nil
}

// describeVersion names the owner of a version byte for an error message.
func describeVersion(version byte) string {
	for _, n := range biblePayNetworks() {
		if version == n.PubKeyHashVersion || version == n.ScriptHashVersion {
			if n.Name == "test" {
				return "a test address" // or a regtest one, which looks the same
			}
			return "a " + n.Name + " address"
		}
	}
	return "the address of another coin"
}

// NewAddress makes the address of a 20-byte hash on a network.
func NewAddress(kind AddressKind, hash [20]byte, network Network) Address {
	a := Address{kind: kind, version: network.PubKeyHashVersion, hash: hash}
	if kind == ScriptHash {
		a.version = network.ScriptHashVersion
	}
	return a
}

// String returns the address in base58check, and nothing for the zero Address.
func (a Address) String() string {
	if a.kind == 0 {
		return ""
	}
	return base58.CheckEncode(a.hash[:], a.version)
}

// Kind returns what the address is the hash of; 0 for the zero Address.
func (a Address) Kind() AddressKind { return a.kind }

// Hash160 returns the 20-byte hash.
func (a Address) Hash160() [20]byte { return a.hash }

// PayScript returns the script of an output that pays the address.
func (a Address) PayScript() []byte {
	switch a.kind {
	case PubKeyHash:
		script := append(make([]byte, 0, 25), opDup, opHash160, 20)
		script = append(script, a.hash[:]...)
		return append(script, opEqualVerify, opCheckSig)
	case ScriptHash:
		script := append(make([]byte, 0, 23), opHash160, 20)
		script = append(script, a.hash[:]...)
		return append(script, opEqual)
	}
	return nil
}

// ScriptAddress returns the address that a script pays: pay-to-public-key-hash,
// pay-to-script-hash and, as in the daemon's own reading of a coinbase,
// pay-to-public-key. Error: [ErrScript].
func ScriptAddress(script []byte, network Network) (Address, error) {
	switch n := len(script); {
	case n == 25 && script[0] == opDup && script[1] == opHash160 && script[2] == 20 &&
		script[23] == opEqualVerify && script[24] == opCheckSig:
		return NewAddress(PubKeyHash, [20]byte(script[3:23]), network), nil
	case n == 23 && script[0] == opHash160 && script[1] == 20 && script[22] == opEqual:
		return NewAddress(ScriptHash, [20]byte(script[2:22]), network), nil
	case n == 35 && script[0] == 33 && (script[1] == 2 || script[1] == 3) && script[34] == opCheckSig,
		n == 67 && script[0] == 65 && script[1] == 4 && script[66] == opCheckSig:
		return NewAddress(PubKeyHash, hash160(script[1:n-1]), network), nil
	}
	return Address{}, fail(ErrScript, "a script of %d bytes pays no address", len(script))
}

// The opcodes of the scripts that pay an address.
const (
	opDup         = 0x76
	opEqual       = 0x87
	opEqualVerify = 0x88
	opHash160     = 0xa9
	opCheckSig    = 0xac
)

func hash160(b []byte) (out [20]byte) {
	first := sha256.Sum256(b)
	h := ripemd160.New()
	h.Write(first[:])
	h.Sum(out[:0])
	return out
}
