package validate

import "slices"

// Reason is the stable public name of a rejection, as it stands in the ledger
// and as the miner sees it. The names without a remark are the original's
// (docs/PROTOCOL.md); the others name holes of the original that are closed here.
type Reason string

// The reasons, in the order in which they are looked for.
const (
	Credited Reason = "" // no reason: the share counts

	SolutionInvalid    Reason = "SolutionInvalid" // ours: the text cannot be read
	UnknownWork        Reason = "UnknownWork"
	WorkTampered       Reason = "WorkTampered" // ours: work that no honest frontend issues
	MinerDisabled      Reason = "MinerDisabled"
	MinerIgnored       Reason = "MinerIgnored" // ours: the operator lets this miner's shares count for nothing
	WorkExpired        Reason = "WorkExpired"  // ours
	HashTargetExceeded Reason = "HashTargetExceeded"
	AlreadyKnown       Reason = "BibleHashAlreadyKnown"
	BibleHashWrong     Reason = "BibleHashWrong"
	TransactionInvalid Reason = "TransactionInvalid"
	NotTheCoinbase     Reason = "TransactionTampered: Not the coinbase" // ours
	BlockHashWrong     Reason = "BlockHashWrong"                        // ours: X11 of the header
	BlockTimeWrong     Reason = "BlockTimeWrong"                        // ours
	NonceWrong         Reason = "NonceWrong"                            // ours: not the header's
	MerkleRootWrong    Reason = "MerkleRootWrong"                       // ours
	MinerGUIDWrong     Reason = "MinerGuidWrong"                        // ours: coinbase of another miner
	InvalidRecipient   Reason = "TransactionTampered: Invalid recipient"
	PoolPaidTooLittle  Reason = "TransactionTampered: Pool paid too little" // ours
	DaemonOutdated     Reason = "Biblepayd_Outdated"
	InvalidCPID        Reason = "Invalid_CPID"
	IllegalCPID        Reason = "Illegal_CPID"
	NonceTooHigh       Reason = "TransactionTampered: Nonce height wrong"
	WrongHeight        Reason = "TransactionTampered: Wrong height"
	PrevBlockWrong     Reason = "PrevBlockHashWrong" // ours: height of the tip, another block
	PrevBlockTimeWrong Reason = "PrevBlockTimeWrong" // ours

	// Other is a refusal under a name that this program does not know.
	Other Reason = "Other"
)

// reasons lists all names under which a share may be rejected.
func reasons() []Reason {
	return []Reason{
		SolutionInvalid, UnknownWork, WorkTampered, MinerDisabled, MinerIgnored, WorkExpired, HashTargetExceeded, AlreadyKnown,
		BibleHashWrong, TransactionInvalid, NotTheCoinbase, BlockHashWrong, BlockTimeWrong, NonceWrong, MerkleRootWrong,
		MinerGUIDWrong, InvalidRecipient, PoolPaidTooLittle, DaemonOutdated, InvalidCPID, IllegalCPID, NonceTooHigh,
		WrongHeight, PrevBlockWrong, PrevBlockTimeWrong,
	}
}

// stable returns the reason of that name, and Other for a name that is none: a
// frontend that was broken into may call a refusal anything.
func stable(name string) Reason {
	if r := Reason(name); slices.Contains(reasons(), r) {
		return r
	}
	return Other
}
