// Package httpcompat is the classic HTTP front of the pool: the one page
// Action.aspx, over which BiblePay's own miner asks for work and hands in
// solutions (docs/PROTOCOL.md, "Classic over HTTP").
//
// It knows the front desk and nothing behind it. What it promises:
//
//   - Every answer is the original's, byte for byte, in one write of head and
//     body, after which the connection is closed: a real client hangs when it is
//     kept open.
//   - Whatever goes wrong with a request for the page, the miner reads an error in
//     the protocol's form with status 200; faults are logged with the identifier that the miner was given.
//   - Everything is bounded: connections in all and per address, how fast an
//     address may come back, the size and number of header lines, the memory of
//     all requests together, and the time for each step. Every connection ends for
//     one named reason, which is counted.
//
// # Why not net/http
//
// Everything that a request says stands in its header, where one value may be
// several megabytes. net/http bounds a header per connection only, so that its
// bound times the number of connections is what a stranger can make it hold; it
// answers an HTTP/1.1 request without Host by itself with 400, which the original
// took; and a connection for one request costs it about a third more processor
// time, and six times the garbage (BenchmarkServer). fasthttp bounds the header by
// a read buffer that each connection has in full. Here the first 16 KiB of a head
// are the connection's own, and what goes beyond is taken from one budget as it
// arrives.
package httpcompat
