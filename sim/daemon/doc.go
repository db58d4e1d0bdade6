// Package daemon is a simulated BiblePay daemon of the classic age (2017 to
// 2020), for tests and for the demo: no real one can be had any more outside an
// archive. It speaks JSON-RPC 1.0 over HTTP with basic authentication, in the
// shapes of docs/PROTOCOL.md ("Daemon calls of the classic age"), over a chain
// that grows, a small wallet, and faults that can be switched on while it runs.
//
// What is real: the bytes of blocks and transactions, their X11 hashes and
// merkle roots, the nonce rule, the error codes, HTTP statuses and batches.
//
// What is a stand-in: BibleHash. The real one needs the text of the King James
// Bible and the rules of the old chain. Here it is the double SHA-256 of its five
// arguments in a fixed form, see [BibleHash], and a table of known real values,
// so that the recorded solution of 2018 gets its true answer. Signatures of CPIDs
// are a stand-in too, see [SignCPID].
//
// The same holds for whoever must agree with the daemon: the simulated miners
// (purepool/sim/miner) mine with this package's BibleHash.
package daemon
