// Package settle turns found blocks into payments, each once: it follows the
// chain, ends rounds, shares rewards out, pays, and proves the books.
//
// # Order of things
//
//   - [Watcher] writes down every block of the chain and which of them pay the
//     pool. Blocks are known by their hash. A block that leaves the best chain is
//     orphaned only once another one stands at its height, some blocks deep, on a
//     node that is synced; a block that comes back is taken back.
//   - [Settler] ends the round of each of the pool's blocks, some confirmations
//     later, and shares its reward out once it is mature.
//   - [Payer] pays the miners' balances.
//   - [Upkeep] rates miners and drops what is old.
//   - [Auditor] proves that all of it adds up.
//
// Each of them has one method that does what is to be done now, which may be
// called at any time, any number of times, by several processes at once; package
// schedule calls them at intervals.
//
// # Rounds
//
// A round is a stretch of time: it holds every credited share that arrived in
// it, by the clock of the frontend that took it. It ends with the share that was
// the block, which belongs to it: the border is a microsecond, the resolution of
// arrivals, after that share. Where no such share has come within a grace time
// after the block was seen (its miner's connection broke, the block was found
// elsewhere), the border is the moment at which the block was seen, or, where
// nobody was watching then, the time in its header, if that is earlier.
// Processing time never matters, nor do the block clocks' disorder: borders only
// move forward.
//
// A verdict may come late: a share that arrived before the border may be judged
// after it was drawn, since a validator had to wait for its daemon. It counts in
// the round in which it arrived as long as that is not paid, which is hours
// later; after that it counts in the next round that is not. The database itself
// sees to it, in the transaction of the verdict (count_late_shares), so a share
// cannot be forgotten, and none can be counted twice.
//
// The open round is counted along: every other minute the shares that have
// arrived since are added to what its miners have done, and a verdict on a share
// that arrived before that moment adds itself (the same trigger). When the round
// ends, only what lies between that moment and the border is still to be counted,
// or moved to the next round: as a rule nothing, since counting stops at the
// border of a block that has come. How far was counted never changes a satoshi.
//
// Under pplns the shares that are weighed are the last ones before the border,
// read when the block is shared out; rounds then only say which shares are paid
// for and may be dropped. A late verdict has then missed the window of every
// block that was paid meanwhile and that its share would have had a part in. The
// next block makes up for it: the share is weighed once more for each window that
// it has missed, beyond the window and displacing nobody (late_window). It is
// worth as many blocks as if it had been judged at once, at the rate of the
// block that makes up for it; only the part of the oldest share, which it would
// have pushed out, is not taken back. Under solo shares are not weighed, the
// finder gets all, and a late verdict misses nothing.
//
// # Stale winners
//
// A share that was refused for its place in the chain, and is a block that stands
// on the best chain after all, was not stale: it is credited when the block is
// written down, in the same transaction, by the weight of its job and at its own
// arrival, as a verdict that comes late. Its refusal is taken out of the ledger and
// the sums, and stands in stale_winner from then on. The watcher looks at every
// turn, so that verdict, block and submission may come in any order. What is
// credited is what a validator found sound in everything else (ledger.Verdict.Weight
// of a refusal), under the proof that it computed and the chain confirms; a
// frontend's word has no part in it. Credited once, it stays so whatever becomes of
// the block, as any finding share.
//
// # Orphans
//
// The round of an orphaned block stays as it is, and is paid by the next block of
// the pool, together with that one's own. If the block comes back first, it is
// paid by it after all. Where a reorganisation is so deep that the block had been
// shared out, its entry is reversed; miners who were paid meanwhile owe it, and
// what they earn next makes up for it.
package settle
