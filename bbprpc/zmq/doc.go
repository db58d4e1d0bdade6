// Package zmq hears of new blocks from a coin daemon that publishes them
// (-zmqpubhashblock): the fastest of the ways in which the pool learns of a new
// tip, and one that may fail at any time without harm, since everybody who
// listens also polls.
//
// It speaks what that takes of ZMTP 3.0 (rfc.zeromq.org/spec/23): a SUB socket on
// TCP without security, the only kind that daemons offer, subscribed to the topic
// hashblock. A daemon's message has three frames (Bitcoin's doc/zmq.md): the
// topic, the block's hash in display order, and the number of the message, 4 bytes,
// little-endian.
//
// # Why not a library
//
// Those that wrap libzmq need C. The one in Go that is kept up
// (go-zeromq/zmq4) makes room for whatever length a frame announces, so that nine
// bytes end the process; it sets no deadline on the handshake, and its automatic
// reconnection cannot say that messages may have been missed meanwhile. The one
// made for daemons (lightninglabs/gozmq) has rested without a version since 2019.
// What is needed here is a greeting, one command and one subscription.
package zmq
