// Package failpoint kills the process at a named point, so that tests can show
// what survives it.
//
// Nothing here is global, and production never makes a [Point]: code that can be
// killed takes a *Point and calls [Point.Hit], which does nothing on a nil one.
// Only a test's own process makes one, from its environment.
package failpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Env names the point at which the process is killed: NAME, or NAME#N for the
// N-th time that it is passed.
const Env = "PUREPOOL_FAILPOINT"

// EnvTrace names a file to which every point that is passed is written, a line
// each.
const EnvTrace = "PUREPOOL_FAILPOINT_TRACE"

// Point is where the process dies. Safe for concurrent use; nil is nowhere.
type Point struct {
	name  string
	trace string

	mu   sync.Mutex
	left int
}

// FromEnv reads the environment; nil where neither variable is set. The error
// speaks of a number that is none.
func FromEnv() (*Point, error) {
	name, trace := os.Getenv(Env), os.Getenv(EnvTrace)
	if name == "" && trace == "" {
		return nil, nil
	}
	p := &Point{name: name, trace: trace, left: 1}
	if base, count, ok := strings.Cut(name, "#"); ok {
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%s: %q is no number of times", Env, count)
		}
		p.name, p.left = base, n
	}
	return p, nil
}

// Hit says that the process is at a point. It does not return where the process
// is to die here: SIGKILL lets nothing run any more, no deferred call, no buffer
// is written.
func (p *Point) Hit(name string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.trace != "" {
		f, err := os.OpenFile(p.trace, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err == nil {
			fmt.Fprintln(f, name)
			f.Close()
		}
	}
	if name != p.name {
		return
	}
	if p.left--; p.left > 0 {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // until the signal is delivered
}
