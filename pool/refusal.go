package pool

// Kind says why the front desk refused a request. It is the stable, public name
// of the refusal: it labels metrics and stands in the ledger.
type Kind string

// The kinds of refusal.
const (
	// KindInvalidNetwork: the network is missing or not served here.
	KindInvalidNetwork Kind = "InvalidNetwork"
	// KindWorkerMissing: a request for work without a worker id.
	KindWorkerMissing Kind = "WorkerMissing"
	// KindWorkerInvalid: a worker id that holds no usable address.
	KindWorkerInvalid Kind = "WorkerInvalid"
	// KindMinerDisabled: the operator has disabled this miner.
	KindMinerDisabled Kind = "MinerDisabled"
	// KindSolutionMissing: a submission without a solution.
	KindSolutionMissing Kind = "SolutionMissing"
	// KindSolutionInvalid: the solution is malformed.
	KindSolutionInvalid Kind = "SolutionInvalid"
	// KindUnknownWork: the work was not issued to this miner on this network.
	KindUnknownWork Kind = "UnknownWork"
	// KindWorkExpired: the work is too old.
	KindWorkExpired Kind = "WorkExpired"
	// KindHashTargetExceeded: the proof does not meet the work's target.
	KindHashTargetExceeded Kind = "HashTargetExceeded"
	// KindDuplicate: this frontend has taken the same proof before.
	KindDuplicate Kind = "BibleHashAlreadyKnown"
	// KindUnavailable: something behind the front desk is away; the same request
	// will work later. Never the miner's fault.
	KindUnavailable Kind = "Unavailable"
)

// Refusal is the error of every request that the front desk turns down. Its
// text is meant for the miner.
type Refusal struct {
	Kind Kind
	Text string
}

func (r *Refusal) Error() string { return r.Text }
