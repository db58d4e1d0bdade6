package queue

import (
	"net/netip"
	"time"

	"github.com/google/uuid"
)

// Share is one submitted share on its way from a frontend to a validator. It
// carries what the miner said and what the frontend saw, nothing that was
// concluded from it: the backend trusts no conclusion of a frontend.
//
// How it is written in an envelope stands in envelope.go.
type Share struct {
	// ID names this submission for its whole life (UUID version 7, made at
	// arrival). A redelivered message carries the same ID, which is how the
	// ledger tells a redelivery from a duplicate proof.
	ID uuid.UUID

	// ReceivedAt is the moment at which the frontend had read the whole share,
	// in UTC, to the microsecond: what is finer is cut. Staleness and round
	// borders are judged by it.
	ReceivedAt time.Time

	// Frontend is the identifier of the frontend that took the share.
	Frontend string

	// RemoteIP is the miner's address as the frontend saw it, without zone; the
	// zero Addr when it is unknown.
	RemoteIP netip.Addr

	// WorkID and MinerID are the share's work and miner as parsed at the front
	// desk; the zero UUID where the miner sent something that is none.
	WorkID  uuid.UUID
	MinerID uuid.UUID

	// Solution is the classic solution: 16 comma-separated fields
	// (docs/PROTOCOL.md), byte for byte as the miner sent it. Empty for a
	// refusal whose text is not worth keeping.
	Solution []byte

	// Template holds shares of a template network, as pool/job encodes them, and
	// never together with a Solution. The ID is then that of this message; each
	// share within has an identity of its own.
	Template []byte

	// Refusal is set where the front desk has already told the miner that the
	// share is refused. Such a share is only written down, never credited.
	Refusal string
}
