// Package miner simulates classic BiblePay miners: they speak to a pool over
// HTTP exactly as the client does (docs/PROTOCOL.md, "Classic over HTTP"), down to
// the order of the headers and to how an answer is read, and they build real
// blocks, whose header hashes, merkle root and coinbase are right. Only the last
// step of the proof of work is the stand-in of purepool/sim/daemon.
//
// When told to, they hand in every kind of wrong solution: see [Faults], the table
// of what can be wrong and by which name a pool must turn it down.
//
// [Miner] is one client with its threads, [Fleet] is many of them, [Replay] sends
// the solution that a real client mined in 2018.
package miner
