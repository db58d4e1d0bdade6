// Package stratum simulates miners of the standard Stratum v1 dialect: a
// [Miner] that really searches for proofs of work, honest or with a named fault,
// and a [Load] that measures a server. Both speak the protocol from its
// description (docs/PROTOCOL.md) and share no code with the server but the
// assembly of headers, so that a misunderstanding shows.
package stratum
