package queue

import (
	"net/netip"
	"time"

	"github.com/google/uuid"
)

// Share is one submitted share on its way from a frontend to a validator. It
// carries what the miner said and what the frontend saw, nothing that was
// concluded from it: the backend trusts no conclusion of a frontend.
type Share struct {
	// ID names this submission for its whole life (UUID version 7, made at
	// arrival). A redelivered message carries the same ID, which is how the
	// ledger tells a redelivery from a duplicate proof.
	ID uuid.UUID `cbor:"1,keyasint"`

	// ReceivedAt is the moment at which the frontend had read the whole share,
	// in UTC, to the microsecond. Staleness and round borders are judged by it.
	ReceivedAt time.Time `cbor:"2,keyasint"`

	// Frontend is the identifier of the frontend that took the share.
	Frontend string `cbor:"3,keyasint,omitempty"`

	// RemoteIP is the miner's address as the frontend saw it.
	RemoteIP netip.Addr `cbor:"4,keyasint,omitempty"`

	// WorkID and MinerID are the share's work and miner as parsed at the front
	// desk; the zero UUID where the miner sent something that is none.
	WorkID  uuid.UUID `cbor:"5,keyasint"`
	MinerID uuid.UUID `cbor:"6,keyasint"`

	// Solution is the classic solution: 16 comma-separated fields
	// (docs/PROTOCOL.md), byte for byte as the miner sent it. Empty for a
	// refusal whose text is not worth keeping.
	Solution []byte `cbor:"7,keyasint,omitempty"`

	// Refusal is set where the front desk has already told the miner that the
	// share is refused. Such a share is only written down, never credited.
	Refusal string `cbor:"8,keyasint,omitempty"`
}
