// Package vardiff finds the difficulty at which a miner hands in shares at the
// wanted rate. It is pure: no timers, no goroutines, the clock is handed in.
//
// # How it decides
//
// Shares of a steady miner arrive as a Poisson process. Since the last change, a
// [State] has counted n shares where λ = elapsed time / wanted interval were
// expected. It changes the difficulty as soon as chance is no explanation any
// more, in either direction, and not before:
//
//	upwards     n − s·λ > 3.5·√n, for example thirteen shares at once
//	downwards   λ/s − n > 4·√(λ/s), for example nothing in twenty intervals
//
// where s = 1.23 is what the nearest rung ([Rung]) may be off by, and only where
// the difficulty is wrong by more than Hysteresis. A very fast miner is therefore
// recognised after thirteen shares, a much too slow one after twenty intervals, and
// a miner that is right is left alone. After Window expected shares a count that has
// proved nothing starts anew, so that an old past does not hide a change.
//
// The new difficulty is the rung nearest to what the count says ([Rung]), at most
// MaxStep times the old one or its inverse, within the floor and the ceiling.
//
// # What counts
//
// A share counts by the difficulty that its own job was sent with, as part of the
// current one and at most as one. So shares of jobs sent before an increase count
// little, and shares sent before a decrease do not set off a new one.
package vardiff

import (
	"errors"
	"math"
	"time"
)

// Config says what is wanted. The zero value of a field means its default.
type Config struct {
	// Interval is the wanted time between two shares of a connection (10 s).
	Interval time.Duration
	// Min and Max bound the difficulty: floor and ceiling. Both are needed.
	Min, Max float64
	// MaxStep bounds a single change, upwards and downwards (16). A guess from
	// a dozen shares may be wrong by half; the next one corrects it.
	MaxStep float64
	// Hysteresis is how far the rate may be off before it matters (1.5): between
	// 1/1.5 and 1.5 of the wanted rate nothing is changed.
	Hysteresis float64
	// Window is how many expected shares a count lasts (64).
	Window float64
}

// ErrConfig is what every error of [New] is.
var ErrConfig = errors.New("vardiff configuration is invalid")

// Counting shares: how sure a decision must be, in standard deviations, and the
// fewest shares that it may rest on. With these, a steady miner at the right
// difficulty sees a change in less than one of a hundred windows.
const (
	sureUp    = 3.5
	sureDown  = 4.0
	fewest    = 12
	overWidth = 1.02 // a change by less than this is none
	// slack is how far the nearest rung may be from what is right for a miner.
	slack = 1.23
)

// Control decides for any number of states. It is immutable and safe for
// concurrent use.
type Control struct{ cfg Config }

// New returns a control. Error: ErrConfig.
func New(cfg Config) (*Control, error) {
	if cfg.Interval == 0 {
		cfg.Interval = 10 * time.Second
	}
	if cfg.MaxStep == 0 {
		cfg.MaxStep = 16
	}
	if cfg.Hysteresis == 0 {
		cfg.Hysteresis = 1.5
	}
	if cfg.Window == 0 {
		cfg.Window = 64
	}
	switch {
	case cfg.Interval < time.Millisecond, cfg.Window < fewest,
		!(cfg.Min > 0), !(cfg.Max >= cfg.Min), math.IsInf(cfg.Max, 0),
		!(cfg.MaxStep > 1), !(cfg.Hysteresis >= 1):
		return nil, ErrConfig
	}
	return &Control{cfg}, nil
}

// Clamp moves a difficulty to its rung, and that between the floor and the ceiling;
// floor raises the floor where it is higher. So every difficulty is a rung, the
// configured floor or the configured ceiling.
func (c *Control) Clamp(difficulty, floor float64) float64 {
	low := math.Max(c.cfg.Min, math.Min(rungAbove(floor), c.cfg.Max))
	if difficulty = Rung(difficulty); !(difficulty > low) { // NaN, too
		return low
	}
	return math.Min(difficulty, c.cfg.Max)
}

// State is what is remembered of one connection, 32 bytes. Its methods belong to
// one goroutine at a time. Times are durations since any fixed moment.
type State struct {
	difficulty float64
	floor      float64 // the miner's own, from md= or mining.configure
	count      float32 // shares since began, in shares of the current difficulty
	began      int64   // milliseconds
}

// Start sets a difficulty, within the bounds, and starts counting.
func (c *Control) Start(s *State, difficulty float64, now time.Duration) float64 {
	s.difficulty = c.Clamp(difficulty, s.floor)
	s.restart(now)
	return s.difficulty
}

// SetFloor raises the floor for this connection; it takes effect with the next
// Start or change.
func (s *State) SetFloor(floor float64) { s.floor = floor }

// Floor returns the connection's own floor; 0 is none.
func (s *State) Floor() float64 { return s.floor }

// Difficulty returns the current difficulty.
func (s *State) Difficulty() float64 { return s.difficulty }

func (s *State) restart(now time.Duration) { s.count, s.began = 0, now.Milliseconds() }

// Share counts a share whose job asked for the given difficulty. Where it proves
// the difficulty wrong, Share returns the new one and true.
func (c *Control) Share(s *State, difficulty float64, now time.Duration) (float64, bool) {
	s.count += float32(math.Min(difficulty/s.difficulty, 1))
	return c.decide(s, now)
}

// Sweep looks at a connection that may have fallen silent. Call it every few
// intervals.
func (c *Control) Sweep(s *State, now time.Duration) (float64, bool) { return c.decide(s, now) }

func (c *Control) decide(s *State, now time.Duration) (float64, bool) {
	elapsed := now - time.Duration(s.began)*time.Millisecond
	expected := math.Max(elapsed.Seconds()/c.cfg.Interval.Seconds(), 1e-3)
	n := float64(s.count)
	var factor float64
	switch {
	case n >= fewest && n-slack*expected > sureUp*math.Sqrt(n):
		factor = n / expected
	case expected/slack-n > sureDown*math.Sqrt(expected/slack):
		factor = (n + 1) / expected // nothing seen still allows for one
	case expected > c.cfg.Window:
		s.restart(now)
		return s.difficulty, false
	default:
		return s.difficulty, false
	}
	if factor < c.cfg.Hysteresis && factor > 1/c.cfg.Hysteresis {
		if expected > c.cfg.Window {
			s.restart(now)
		}
		return s.difficulty, false
	}
	return c.change(s, factor, now)
}

func (c *Control) change(s *State, factor float64, now time.Duration) (float64, bool) {
	factor = math.Min(math.Max(factor, 1/c.cfg.MaxStep), c.cfg.MaxStep)
	before := s.difficulty
	after := c.Clamp(before*factor, s.floor)
	s.restart(now)
	if after < before*overWidth && after > before/overWidth { // held by floor or ceiling
		return before, false
	}
	s.difficulty = after
	return after, true
}
