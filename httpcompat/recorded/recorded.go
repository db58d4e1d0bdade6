// Package recorded holds exchanges that were recorded from the original pool
// (Python, 2018) on Action.aspx, says what this pool answers to each, and runs
// them against a server.
//
// Most answers must be the same, byte for byte. Where the original failed, or took
// what can never be paid, the expectation is the better answer; the full list with
// its reasons is in docs/PROTOCOL.md.
package recorded

import (
	_ "embed"
	"encoding/json"
	"fmt"
)

// Case is one recorded exchange.
type Case struct {
	Name string
	// State is what the tables held, in the words of the recording.
	State string
	// Request is what was sent on a connection of its own.
	Request []byte
	// Status and Body are what the original answered; Body is empty where it failed.
	Status         int
	Body           string
	OriginalFailed bool
	Note           string
	// Want is what this pool answers.
	Want Expectation
}

// Miner is a miner that the recording presumes, with one worker per entry of Works.
type Miner struct {
	GUID, Address, Network string
	Enabled                bool
	Works                  []Work
}

// Work is a piece of work that was issued before, to a worker of that name.
type Work struct {
	ID, Worker string
}

// Fixture is what a server must know before the cases are run against it. It
// serves the networks main and test, and no other.
type Fixture struct {
	PoolAddress map[string]string // by network
	HashTarget  string            // of all work, 64 hex digits
	Miners      []Miner
}

// HashTarget is the hash target of the recording.
const HashTarget = "0000011110000000000000000000000000000000000000000000000000000000"

//go:embed testdata/original.json
var original []byte

type recording struct {
	Addresses map[string]string
	Fixture   struct{ Miners [][4]string }
	Cases     []struct {
		Name           string
		State          string
		Request        string
		Status         int
		Body           string
		OriginalFailed bool `json:"original_failed"`
		Note           string
	}
}

// Load returns the cases in their order, and what they presume.
func Load() ([]Case, Fixture, error) {
	var r recording
	if err := json.Unmarshal(original, &r); err != nil {
		return nil, Fixture{}, fmt.Errorf("read recording: %w", err)
	}
	f := Fixture{
		HashTarget:  HashTarget,
		PoolAddress: map[string]string{"main": r.Addresses["pool main"], "test": r.Addresses["pool test"]},
	}
	// One piece of work per worker; the first miner has two workers.
	workers := [][]string{{"Default", "rig1"}, {"Default"}, {"Default"}, {"Default"}}
	works := 0
	for i, m := range r.Fixture.Miners {
		miner := Miner{GUID: m[0], Address: m[1], Network: m[2], Enabled: m[3] == "enabled"}
		for _, worker := range workers[i] {
			works++
			miner.Works = append(miner.Works, Work{ID: fmt.Sprintf("aaaaaaaa-0000-4000-8000-%012d", works), Worker: worker})
		}
		f.Miners = append(f.Miners, miner)
	}
	cases := make([]Case, 0, len(r.Cases))
	for _, c := range r.Cases {
		request, err := latin1(c.Request)
		if err != nil {
			return nil, Fixture{}, fmt.Errorf("case %s: %w", c.Name, err)
		}
		body, err := latin1(c.Body)
		if err != nil {
			return nil, Fixture{}, fmt.Errorf("case %s: %w", c.Name, err)
		}
		one := Case{
			Name: c.Name, State: c.State, Request: request, Status: c.Status, Body: string(body),
			OriginalFailed: c.OriginalFailed, Note: c.Note,
		}
		one.Want = expectation(one)
		cases = append(cases, one)
	}
	return cases, f, nil
}

// latin1 turns the recording's text back into bytes.
func latin1(s string) ([]byte, error) {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 0xff {
			return nil, fmt.Errorf("character %q is not a byte", r)
		}
		b = append(b, byte(r))
	}
	return b, nil
}
