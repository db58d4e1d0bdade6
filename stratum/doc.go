// Package stratum is the TCP front: miners' connections, their lines, their
// sessions. It knows the front desk, jobs and a sink for shares by small
// interfaces (api.go) and nothing behind them: no database, no daemon, no broker.
//
// # The way of a share
//
//	bytes ─▶ session.feed: lines, whatever the segments        (session.go)
//	      ─▶ parseMessage: no allocation, bounded depth        (json.go)
//	      ─▶ session.submit: shape, worker, job, time, repeat  (template.go)
//	      ─▶ checkers: the proof, off the event loops          (checks.go)
//	      ─▶ writers: batches made durable by the sink
//	      ─▶ loop.deliver: answers, in the order of their requests, one write
//
// A share that makes a block leaves the checkers on a road of its own before
// anything else happens to it, and goes the way of all shares besides (wins.go).
// Requests to the front desk and the door take the same way by callers instead of
// checkers; so does a line beyond 64 KiB, which a caller reads (long.go).
//
// # Who may touch what
//
// A session belongs to one loop (loop.go): an event loop of gnet's, or the one
// goroutine that serves all TLS connections. It has no goroutine, timer or lock of
// its own, which is how an idle authorized connection stays below two kilobytes.
// Other goroutines see a session only through the op they were lent (op.go), and
// reach its loop with loop.run. What all share is guarded or atomic: the guard, the
// budget, the difficulties remembered, the shelf of jobs, which is replaced and
// never changed.
//
// # What is bounded
//
// Connections, also per address; lines; requests without an answer, per
// connection and in all; unfinished lines and solutions, over all connections;
// bytes not yet read by a miner; jobs, and shares remembered of each; addresses
// counted; chatter. A broadcast never waits: who does not read is closed. Every end
// of a connection has a reason (reason.go) in metric and log.
//
// # Difficulty
//
// A job's number, as a miner sees it, also says with which difficulty it was sent
// (asks.go). A share is judged and weighed by that, not by the session's difficulty
// of the moment. When a difficulty changes the current job is sent again at once
// under another number; shares for the old number are taken a few seconds longer
// and no more, or a miner could choose for each share what it shall be worth.
//
// # What gnet v2.10.0 asks of us
//
// Read in its source, and each shown by a test here (gnet_test.go, most of them):
//   - Its own listener returns from the event loop on EMFILE. So the listeners are
//     net's, and Enroll gives gnet a copy of each connection's file. Enroll waits
//     until the loop has called OnOpen; with a loop that has ended it would wait for
//     ever, so all acceptors have returned before the engine is stopped.
//   - Enroll reports no error where the poller refuses a file: OnOpen was simply
//     never called, which serve looks for. The kernel does so only for want of memory,
//     so the test has Enroll refuse the file, which serve answers in the same way.
//   - Nothing holds a writer back: Write puts what the kernel does not take into a
//     buffer without bound. So OutboundBuffered is looked at after every write, and
//     the kernel's own buffer is bounded, too.
//   - Write closes the connection itself when it fails, and calls OnClose before it
//     returns. So everything after a write looks whether the session is closed.
//   - Bytes of Peek die with OnTraffic. They are taken at once and a rest of a line
//     is kept by the session, on the shared budget; gnet's own inbound buffer is
//     never used.
//   - It recovers no panic: a fault in one session would end the process. See
//     loop.survive.
//   - Tasks of Execute that are queued by a task run before the next poll. So work on
//     many sessions is cut into pieces by a goroutine outside, which waits for each.
//   - A task for an engine that has stopped writes to a file that may be another's
//     by then. So nobody outlives the engine who could queue one.
package stratum
