package stratum

import (
	"context"
	"net/netip"

	"purepool/pool"
	"purepool/pool/job"
)

// Desk is the front desk as the classic dialect knows it. Every refused request
// is a *pool.Refusal; its methods may block on the database and the queue, and
// are called from the server's own callers, never from an event loop.
type Desk interface {
	RequestWork(ctx context.Context, r pool.WorkRequest) (pool.WorkGrant, error)
	SubmitSolution(ctx context.Context, r pool.SolutionRequest) (pool.SolutionReceipt, error)
}

// Door admits the workers of a template network. Admit may block. A worker that
// must not mine is a *pool.Refusal, whose text is told to the miner; any other
// error is a fault of the pool's, and the miner is told to try again.
type Door interface {
	Admit(ctx context.Context, a Arrival) (Admission, error)
}

// Arrival is a worker that wants to mine on a template network. The address has
// not been checked.
type Arrival struct {
	Network  string
	Address  string
	Worker   string // the rig's name; empty where the miner gave none
	Agent    string // the miner's own name for itself, any bytes
	RemoteIP netip.Addr
}

// Admission is a worker that may mine.
type Admission struct {
	Worker int64 // the ledger's number of the worker, which its shares carry
}

// Jobs are the jobs of one template network.
type Jobs interface {
	// Watch calls tell with the jobs for which shares may still come, oldest first
	// and the current one last, if there are any, before it returns, and then with
	// every new one, in order and from one goroutine at a time,
	// until stop is called; when stop has returned, tell will not be called again.
	// A nil job says that there is nothing worth mining on: new miners are not let in
	// until the next job, or until the last one is told again. Those that are there
	// keep what they have, unless that is worthless: then their shares are stale, and
	// they are sent away. tell returns quickly.
	Watch(tell func(j *job.Job, worthless bool)) (stop func())
}

// ShareSink takes the shares of one template network. Both methods are called
// from several goroutines.
type ShareSink interface {
	// Put returns nil once every share is durable. Where it returns an error none
	// of the shares counts as taken, and their miners are told to try again; it is
	// harmless if some were taken nevertheless. The slice is reused after the call.
	Put(ctx context.Context, shares []job.Share) error
	// Win hands over a share that makes a block. Put gets the same share beside it,
	// also where its miner is refused it: either suffices. The server never waits for
	// Win before it goes on.
	Win(ctx context.Context, share job.Share) error
}
