package miner

import (
	"maps"
	"strings"
	"sync"
)

// Stats counts what miners did and what they were told. Safe for concurrent use.
type Stats struct {
	mu sync.Mutex
	s  Snapshot
}

// Snapshot is what was counted up to a moment.
type Snapshot struct {
	Miners     int64 // at work now
	WorkAsked  int64
	WorkGiven  int64
	Sent       int64 // solutions, sound and faulty
	OK         int64 // answered ok
	FaultySent int64
	Hashes     int64
	Blocks     int64 // found and taken by the own node
	// Unexpected is the number of sound solutions that were refused, and of faulty
	// ones that were not answered as their fault says.
	Unexpected int64
	// Refused counts error answers by their text, in which ids are left out.
	Refused map[string]int64
	// Failed counts requests that got no answer, by the error's kind.
	Failed map[string]int64
	// Faults counts the faulty solutions by their fault.
	Faults map[string]int64
}

// Snapshot returns a copy of the counts.
func (c *Stats) Snapshot() Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.s
	s.Refused, s.Failed, s.Faults = maps.Clone(s.Refused), maps.Clone(s.Failed), maps.Clone(s.Faults)
	return s
}

func (c *Stats) change(f func(*Snapshot)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.s)
}

// maxTexts bounds the texts that are told apart.
const maxTexts = 64

func count(counts *map[string]int64, text string) {
	if *counts == nil {
		*counts = make(map[string]int64)
	}
	if _, known := (*counts)[text]; !known && len(*counts) >= maxTexts {
		text = "other"
	}
	(*counts)[text]++
}

// general leaves ids and addresses out of a text: words with a digit that are
// longer than 20 characters.
func general(text string) string {
	words := strings.Fields(text)
	for i, w := range words {
		if len(w) > 20 && strings.ContainsAny(w, "0123456789") {
			words[i] = "…"
		}
	}
	return strings.Join(words, " ")
}

func (c *Stats) workAnswered(err error, answered bool) {
	c.change(func(s *Snapshot) {
		s.WorkAsked++
		switch {
		case err == nil:
			s.WorkGiven++
		case answered:
			count(&s.Refused, general(err.Error()))
		default:
			count(&s.Failed, failureKind(err))
		}
	})
}

func (c *Stats) solutionAnswered(sent *Sent) {
	c.change(func(s *Snapshot) {
		s.Sent++
		if sent.Fault != "" {
			s.FaultySent++
			count(&s.Faults, sent.Fault)
		}
		switch {
		case sent.Err != nil:
			count(&s.Failed, failureKind(sent.Err))
			return
		case sent.OK:
			s.OK++
		default:
			count(&s.Refused, general(sent.Answer.Error))
		}
		if !sent.Expected {
			s.Unexpected++
		}
	})
}
