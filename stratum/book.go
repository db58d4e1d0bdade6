package stratum

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"purepool/pool/chain"
	"purepool/pool/job"
	"purepool/pool/pow"
)

// Jobs that are remembered: those shares may still be handed in for, and a few
// stale ones, since a late share may still make a block.
const (
	maxOpenJobs  = 32
	maxStaleJobs = 4
)

// notices are the texts of a job: one, or, where the job binds its shares'
// targets, one for each target in use.
type notices struct {
	one  notification
	mu   sync.RWMutex // guards each
	each map[job.Bits]notification
}

// notification is mining.notify of a job.
type notification struct {
	line []byte // the broadcast
	body []byte // between the job's number and the clean flag
}

// maxNotices bounds the texts kept of one job, about 2 kB each. All difficulties
// are rungs of one ladder (vardiff.Rung), which has some 200 of them between the
// least and the most that there can be; a port has its floor and its ceiling besides.
const maxNotices = 256

// notification returns the texts for sessions of this target.
func (o *openJob) notification(target job.Bits) notification {
	if !o.job.BindsTarget {
		return o.texts.one
	}
	o.texts.mu.RLock()
	n, ok := o.texts.each[target]
	o.texts.mu.RUnlock()
	if ok {
		return n
	}
	n = o.write(target)
	o.texts.mu.Lock()
	defer o.texts.mu.Unlock()
	if o.texts.each == nil {
		o.texts.each = make(map[job.Bits]notification)
	}
	if len(o.texts.each) < maxNotices {
		o.texts.each[target] = n
	}
	return n
}

func (o *openJob) write(target job.Bits) (n notification) {
	n.body = appendNotifyBody(nil, o.job, target)
	n.line = appendNotify(nil, o.key, n.body, o.job.Clean)
	return n
}

// openJob is a job as it is served. It is immutable but for the shares seen and
// the texts made.
type openJob struct {
	job    *job.Job
	key    uint64
	texts  notices
	target pow.Target
	seen   *job.Duplicates
}

// shelf holds the jobs of a network at one moment. It is immutable.
type shelf struct {
	current  *openJob   // nil before the first job
	jobs     []*openJob // newest first
	cleanKey uint64     // key of the last clean job: what is older is stale
	oldest   uint64     // key of the oldest job that is not stale
	ready    bool       // there is something worth mining on for new miners
	// withdrawn: all jobs are worthless, since this time of the server's; not ready.
	withdrawn bool
	since     time.Duration
}

func (sh *shelf) find(key uint64) *openJob {
	for _, o := range sh.jobs {
		if o.key>>epochBits == key>>epochBits {
			return o
		}
	}
	return nil
}

// book is one template network as its ports see it.
type book struct {
	name      string
	algorithm string
	chain     chain.Network
	door      Door
	sink      ShareSink
	jobs      Jobs
	size      uint8 // of extranonce2 before the first job
	most      int   // shares remembered per job

	shelf            atomic.Pointer[shelf]
	log              *slog.Logger
	metrics          *metrics
	broadcastSeconds prometheus.Observer
	writes           *queue // shares to be stored
	wins             chan job.Share
	stranded         stranded // block candidates that could not be stored
	winsHandedOver   prometheus.Counter
	winsFailed       prometheus.Counter
	winsGivenUp      prometheus.Counter
}

func newBook(n *Network, cfg *Config, m *metrics) *book {
	b := &book{
		name: n.Name, algorithm: n.Algorithm, chain: n.Chain, door: n.Door, sink: n.Sink, jobs: n.Jobs, size: n.Extranonce2Size,
		most: cfg.DuplicatesPerJob, log: cfg.Logger, metrics: m, broadcastSeconds: m.broadcasts.WithLabelValues(n.Name),
		writes: newQueue(), wins: make(chan job.Share, winsWaiting),
		stranded:       stranded{end: make(chan struct{})},
		winsHandedOver: m.wins.WithLabelValues(n.Name, "handed_over"), winsFailed: m.wins.WithLabelValues(n.Name, "failed"),
		winsGivenUp: m.wins.WithLabelValues(n.Name, "given_up"),
	}
	b.shelf.Store(new(shelf))
	for _, result := range []string{"taken", "again", "invalid", "old", "missing", "withdrawn"} {
		m.jobs.WithLabelValues(n.Name, result)
	}
	return b
}

func (b *book) current() *openJob { return b.shelf.Load().current }

func (b *book) versionMask() uint32 {
	if open := b.current(); open != nil {
		return open.job.VersionMask
	}
	return 0
}

func (b *book) extranonce2Size() uint8 {
	if open := b.current(); open != nil {
		return open.job.Extranonce2Size
	}
	return b.size
}

// take puts a new job on the shelf and reports whether there is one to broadcast.
// No job withdraws what there is, at least for new miners. It is called from one
// goroutine at a time.
func (b *book) take(j *job.Job, worthless bool, now time.Duration) bool {
	before := b.shelf.Load()
	result, ok := "taken", false
	switch {
	case j == nil:
		result = "missing"
		after := *before
		after.ready = false
		if worthless && !before.withdrawn {
			result, after.withdrawn, after.since = "withdrawn", true, now
		}
		b.shelf.Store(&after)
		b.log.Warn("no job to mine on, new miners are not let in", slog.String("network", b.name), slog.Bool("sent_away", after.withdrawn))
	case b.refuse(j):
		result = "invalid"
	case before.current != nil && j.Seq == before.current.job.Seq && !before.ready:
		// It was withdrawn, and is worth mining on again.
		result, ok = "again", true
		after := *before
		after.ready, after.withdrawn = true, false
		b.shelf.Store(&after)
	case before.current != nil && j.Seq <= before.current.job.Seq:
		result = "old"
	default:
		b.shelf.Store(before.with(b.open(j)))
		b.metrics.jobHeight.WithLabelValues(b.name).Set(float64(j.Height))
		b.metrics.jobIssued.WithLabelValues(b.name).Set(float64(j.IssuedAt) / 1e6)
		ok = true
	}
	b.metrics.jobs.WithLabelValues(b.name, result).Inc()
	ready := 0.0
	if b.shelf.Load().ready {
		ready = 1
	}
	b.metrics.jobReady.WithLabelValues(b.name).Set(ready)
	return ok
}

func (b *book) refuse(j *job.Job) bool {
	err := j.Validate()
	if err == nil && (j.Network != b.name || j.Algorithm != b.algorithm) {
		err = job.ErrInvalid
	}
	if err != nil {
		b.log.Error("job refused", slog.String("network", b.name), slog.Any("error", err))
	}
	return err != nil
}

func (b *book) open(j *job.Job) *openJob {
	o := &openJob{job: j, key: keyOf(j.Seq), seen: job.NewDuplicates(b.most)}
	if !j.BindsTarget {
		o.texts.one = o.write(0)
	}
	o.target, _ = j.Target() // Validate has read it
	return o
}

// with returns the shelf with one more job on it.
func (sh *shelf) with(o *openJob) *shelf {
	next := &shelf{current: o, ready: true, cleanKey: sh.cleanKey, oldest: o.key}
	if o.job.Clean {
		next.cleanKey = o.key
	}
	next.jobs = append(next.jobs, o)
	stale := 0
	for _, old := range sh.jobs {
		if old.key < next.cleanKey {
			if stale++; stale > maxStaleJobs {
				break
			}
		} else if len(next.jobs) >= maxOpenJobs {
			break
		} else {
			next.oldest = old.key
		}
		next.jobs = append(next.jobs, old)
	}
	return next
}
