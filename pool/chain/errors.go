package chain

import "fmt"

// ErrorKind is a kind of malformed input. Match it with errors.Is; its text is
// a stable name for metrics and logs.
type ErrorKind string

// The kinds of malformed addresses.
const (
	// ErrAddressEmpty: there is no address.
	ErrAddressEmpty ErrorKind = "AddressEmpty"
	// ErrAddressCharacter: a character that base58 does not use.
	ErrAddressCharacter ErrorKind = "AddressCharacter"
	// ErrAddressLength: too short or too long to hold a version, a 20-byte hash and a checksum.
	ErrAddressLength ErrorKind = "AddressLength"
	// ErrAddressChecksum: the checksum fails; the address was mistyped.
	ErrAddressChecksum ErrorKind = "AddressChecksum"
	// ErrAddressNetwork: a sound address of another network or coin.
	ErrAddressNetwork ErrorKind = "AddressNetwork"
	// ErrUnknownNetwork: no network has this name.
	ErrUnknownNetwork ErrorKind = "UnknownNetwork"
)

// The kinds of malformed hashes, transactions and blocks.
const (
	// ErrHex: a character that is no hex digit, or an odd number of digits.
	ErrHex ErrorKind = "Hex"
	// ErrHashLength: a hash that has not 64 hex digits.
	ErrHashLength ErrorKind = "HashLength"
	// ErrTooLarge: more bytes than MaxBlockSize.
	ErrTooLarge ErrorKind = "TooLarge"
	// ErrTruncated: the input ends in the middle, or claims more than it holds.
	ErrTruncated ErrorKind = "Truncated"
	// ErrTrailing: bytes after the end.
	ErrTrailing ErrorKind = "Trailing"
	// ErrCompactSize: a length that is not written in its shortest form.
	ErrCompactSize ErrorKind = "CompactSize"
	// ErrNoTransactions: a block without transactions.
	ErrNoTransactions ErrorKind = "NoTransactions"
	// ErrNoInputs: a transaction without inputs.
	ErrNoInputs ErrorKind = "NoInputs"
	// ErrNoOutputs: a transaction without outputs.
	ErrNoOutputs ErrorKind = "NoOutputs"
	// ErrValue: an output, or their sum, is negative or above MaxMoney.
	ErrValue ErrorKind = "Value"
	// ErrCoinbase: the first transaction is no coinbase, or another one is.
	ErrCoinbase ErrorKind = "Coinbase"
	// ErrCoinbaseHeight: the coinbase does not begin with a height as BIP 34 writes it.
	ErrCoinbaseHeight ErrorKind = "CoinbaseHeight"
	// ErrMerkleRoot: the header's merkle root is not that of the transactions.
	ErrMerkleRoot ErrorKind = "MerkleRoot"
	// ErrMerkleMutated: the merkle root fits, but so it would without a
	// transaction that is there twice (CVE-2012-2459).
	ErrMerkleMutated ErrorKind = "MerkleMutated"
	// ErrScript: a script that pays no address.
	ErrScript ErrorKind = "Script"
)

// Error returns the kind's stable name.
func (k ErrorKind) Error() string { return string(k) }

// Error is malformed input: its kind for programs, its detail for people. The
// detail is printable ASCII whatever the input was, so that it may be sent,
// logged and stored.
type Error struct {
	Kind   ErrorKind
	Detail string
}

// Error returns the detail.
func (e *Error) Error() string { return e.Detail }

// Unwrap returns the kind, so that errors.Is finds it.
func (e *Error) Unwrap() error { return e.Kind }

func fail(kind ErrorKind, format string, args ...any) error {
	return &Error{Kind: kind, Detail: fmt.Sprintf(format, args...)}
}
