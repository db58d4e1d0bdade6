// Package chain knows the classic BiblePay chain by its bytes: networks,
// addresses, scripts, transactions, blocks, merkle roots. It is pure: it opens
// nothing, reads no clock, starts no goroutine and imports no other package of
// this module, so that everything in it can be fuzzed.
//
// A classic block is Bitcoin's block with one difference: every transaction
// output carries one more variable-length string after its script, the message
// (docs/PROTOCOL.md, "Classic block format"). Transaction ids are the double
// SHA-256 of the whole serialisation, message included. There is no witness.
//
// # Trust
//
// Every decoder here faces miners. A decoder reads its input once, in linear
// time, allocates in proportion to the bytes that are really there and never to
// a count that is merely claimed, accepts exactly one encoding of every value
// (a CompactSize must be minimal, no byte may follow the end), and says by
// [ErrorKind] what is wrong. What was decoded encodes to the same bytes.
//
// # Byte orders
//
// A [Hash] is kept in the order of the wire (little-endian, as the hash function
// put it out) and is printed reversed, as people and daemons write it.
// [Hash.Display] gives the reversed bytes, which compare as numbers and are what
// package pool/pow calls a proof or a target. Amounts are satoshis, times are
// unix seconds.
//
// # What a classic daemon reads of a coinbase
//
// The client's hexblocktocoinbase takes the recipient, the subsidy and the block
// message from the first output only. A coinbase whose first output pays the
// pool one satoshi and whose second pays the miner the rest therefore has the
// right recipient in the daemon's eyes; [Transaction.PaidTo] and
// [Transaction.TotalOut] let a pool look closer.
package chain
