// Package jobs is where a template network's work comes from and where its
// blocks go: the backend's side of mining today's chain.
//
// A [Maker] watches every configured daemon (long polling, polling, and
// [Maker.Notify] for daemons that push), takes the template of the best one that
// is synced, has that daemon check the coinbase, and makes a job of it. A job is
// durable before anybody hears of it ([Keeper]): whatever restarts, the share
// that a miner makes for it can be judged, and the block that it may be can be
// put together. Then it is told to the frontends, and told again every few
// seconds, so that one that comes later or missed it has it soon.
//
// A [Submitter] takes winning shares, puts their blocks together, writes them
// into a journal on disk and hands them to all daemons at once, again and again
// while they may count.
//
// # What a frontend can and cannot do to this room
//
// It cannot touch jobs: it hears them. It can hand in winning shares that are
// none: each is assembled from the job that stands here and hashed before any
// daemon hears of it. It can keep a winning share back; nothing prevents that but
// that the miner sees its share answered and no block.
package jobs
