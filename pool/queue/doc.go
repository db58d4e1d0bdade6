// Package queue carries shares from the frontends to the validators, durably.
//
// It promises one thing: when [Publisher.Publish] returns nil, the share is on
// a disk, in the broker or in the publisher's own spool, and it will come out
// of [Subscribe] at least once, whatever process or broker dies in between.
// Nothing is dropped silently: at its bounds the publisher refuses with
// [ErrFull], what cannot be decoded goes to the dead letters.
//
// Shares travel in envelopes: many shares of one network in one broker message,
// so that one fsync and one acknowledgement serve all of them. The publisher
// closes an envelope when the one before it has been acknowledged (a lone share
// does not wait), so envelopes grow under load by themselves.
//
// The broker is NATS JetStream in the process, NATS JetStream elsewhere, or
// RabbitMQ, behind watermill's interfaces; natsDriver and amqpDriver say why
// watermill's own implementations do not do. The spool is own code, too: of what
// exists, nsqio/go-diskqueue answers before it calls fsync, and tidwall/wal
// cannot be opened again after a torn write.
//
// Delivery is at least once and not strictly in order. The ledger makes it
// exactly once by [Share].ID and by the proof's hash; staleness is judged by
// [Share].ReceivedAt, never by the order of arrival.
package queue
