package pool

import (
	"sync"
	"time"
)

// workQuota counts the work that one worker was given in the present minute.
// Safe for concurrent use.
type workQuota struct {
	mu     sync.Mutex
	minute time.Time
	given  int
	newest WorkGrant
}

// take takes one piece of work from the quota. Where the minute's is spent it
// returns the newest work instead, if there is one.
func (q *workQuota) take(now time.Time, perMinute int) (newest WorkGrant, spent bool) {
	if perMinute < 0 {
		return WorkGrant{}, false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if minute := now.Truncate(time.Minute); !minute.Equal(q.minute) {
		q.minute, q.given = minute, 0
	}
	if q.given >= perMinute && q.newest.WorkID != "" {
		return q.newest, true
	}
	q.given++
	return WorkGrant{}, false
}

// give notes the work that was given.
func (q *workQuota) give(grant WorkGrant) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.newest = grant
}
