package stratum

import (
	"time"

	"purepool/pool/job"
)

// vardiffSweep is how often a silent miner is looked at.
const vardiffSweep = 5

// sweep looks at a session once a second.
func (l *loop) sweep(s *session) {
	now := s.now()
	s.forgive(chatterPerSecond)
	limits := &l.srv.cfg.Limits
	idle := limits.IdleTimeout
	if s.port.Dialect == Classic {
		idle *= 12 // a classic miner speaks only when it has something
	}
	switch {
	case s.worker == nil && since(s.opened, now) > limits.AuthTimeout:
		s.close(ClosedAuthTimeout)
	case s.partial != nil && !s.has(suspended) && since(s.lineSince, now) > limits.LineTimeout:
		s.close(ClosedLineTimeout)
	case since(s.seen, now) > idle:
		s.close(ClosedIdle)
	case s.from.banned(now), l.srv.cfg.Bans.IP(s.addr), s.worker != nil && l.srv.cfg.Bans.Worker(s.port.Network, s.worker.name):
		s.close(ClosedBanned)
	case s.port.Dialect == Classic:
		s.refreshWork()
	case s.workless(now):
		if s.has(subscribed) {
			l.out = appendShowMessage(l.out, "The chain has a new block and the pool no work on it: connection closed, please use your other pools until it has")
		}
		s.fail(ClosedNoJob)
	case s.vary.sent != 0 && !s.has(fixed) && (uint32(s.at)+seconds(now))%vardiffSweep == 0:
		d, changed := s.port.control.Sweep(&s.vary.State, now)
		s.retarget(d, changed, &l.out)
	}
}

// workless reports whether it is the session's turn to be sent away because its
// job is worthless. Stratum knows no word for "stop": a miner goes to its next pool,
// or rests, when its connection ends. The turns are spread over the time of a drain,
// who still waits for an answer comes later, and a job that comes meanwhile keeps
// whoever is still there.
func (s *session) workless(now time.Duration) bool {
	shelf := s.port.book.shelf.Load()
	turn := s.srv().cfg.DrainTime * time.Duration(s.extranonce1[job.Extranonce1Size-1]) / 256
	if s.head != nil {
		turn += s.srv().cfg.DrainTime
	}
	return shelf.withdrawn && now-shelf.since >= turn
}

// drainSteps is into how many steps the closing of all connections is divided.
const drainSteps = 50

// drain closes the loop's connections over the given time, those that wait for
// no answer first, and returns as soon as there are none.
func (l *loop) drain(over time.Duration, to DrainTarget) {
	left := make(chan int)
	for step := range drainSteps {
		err := l.run(func() {
			n := (len(l.sessions) + drainSteps - step - 1) / (drainSteps - step)
			last := step == drainSteps-1
			for i := len(l.sessions) - 1; i >= 0 && n > 0; i-- {
				if i < len(l.sessions) && (last || l.sessions[i].head == nil) {
					l.visit(l.sessions[i], func(s *session) { s.bye(to) })
					n--
				}
			}
			left <- len(l.sessions)
		})
		if err != nil || <-left == 0 {
			return
		}
		if over > 0 {
			time.Sleep(over / drainSteps)
		}
	}
}

// bye sends a miner elsewhere and closes.
func (s *session) bye(to DrainTarget) {
	if s.has(subscribed) && s.port.Dialect == Template {
		s.loop.out = appendReconnect(s.loop.out, to, 1)
	}
	s.fail(ClosedDraining)
}
