// Package job is what a template network's miners work on, and what they hand
// in: the immutable [Job], the [Share], the header that both give together, and
// the judgement of it. The backend issues jobs and judges every share again with
// the very code that the frontend answered the miner with. It is pure: no I/O,
// no clock, no goroutine, so that everything in it can be fuzzed.
//
// # From a job to a header
//
// A job holds the coinbase in two halves. Between them go extranonce1, which the
// frontend gave the session ([Extranonce1]), and extranonce2, which the miner
// searches. The double SHA-256 of the four parts, folded with the job's merkle
// branches, is the merkle root; with the miner's time, nonce and version bits
// it makes the 80 bytes that are hashed ([Assembler]).
//
// # Difficulty
//
// Miners speak of difficulty, chains of targets. The pool keeps a share's target
// in compact form ([Bits]): 32 bits that expand to exactly one target, so that
// frontend, queue and ledger cannot differ by a rounding. The target of a
// difficulty is rounded up to the next compact one: a miner that computes its
// own target from the difficulty it was sent is never told that its share is low.
//
// # Byte orders
//
// Hashes that stand in headers (chain.Hash, merkle branches) are in internal
// order; proofs and targets are [32]byte, most significant byte first.
package job
