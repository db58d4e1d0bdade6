package load

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"

	"purepool/pool/chain"
	"purepool/sim/daemon"
	"purepool/sim/miner"
)

// WorkOK is what a good answer to readytomine2 holds, SolutionOK a good one to
// solution.
const (
	WorkOK     = "<HASHTARGET>"
	SolutionOK = "<STATUS>ok</STATUS>"
)

// Prebuilt sends these requests in turn, and again from the first.
func Prebuilt(requests [][]byte) Source {
	return func(dst []byte, n int64) []byte { return append(dst, requests[n%int64(len(requests))]...) }
}

// Work asks for work, for each of these miners (address[/worker]) in turn.
func Work(c *miner.Client, network string, miners []string) Source {
	requests := make([][]byte, len(miners))
	for i, name := range miners {
		requests[i] = c.Append(nil, &miner.Request{Action: "readytomine2", Miner: name, Network: network, ThreadID: "0"})
	}
	return Prebuilt(requests)
}

// proofTail is the part of a proof that tells one from another, in hex digits.
const proofTail = 16

// Solutions hands in solutions that are well-formed, for this work, each under a
// proof of its own below any target of up to 2^64 hashes. The block is that of
// the recording of 2018, so that they are as large as real ones. A front desk
// takes them; a validator rejects them, since their proofs are made up.
func Solutions(c *miner.Client, network, name string, w *miner.Work) (Source, error) {
	fields := slices.Clone(daemon.Recorded().Fields)
	salt := make([]byte, 16) // two runs must not share a proof
	if _, err := rand.Read(salt); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	head := strings.Repeat("0", 64-2*len(salt)-proofTail) + hex.EncodeToString(salt)
	fields[4], fields[5], fields[6] = head+strings.Repeat("0", proofTail), w.MinerGUID, w.WorkID
	request := c.Append(nil, &miner.Request{
		Action: "solution", Miner: name, Network: network, Solution: strings.Join(fields, ","), ThreadID: "0",
	})
	at := strings.Index(string(request), head) + len(head)
	return func(dst []byte, n int64) []byte {
		dst = append(dst, request...)
		const digits = "0123456789abcdef"
		for i := at + proofTail - 1; n > 0; i-- {
			dst[i] = digits[n&15]
			n >>= 4
		}
		return dst
	}, nil
}

// Solved hands in these solutions, each once and in turn: enough of them must be
// there for the run.
func Solved(c *miner.Client, network, name string, solutions []*miner.Solution) Source {
	return func(dst []byte, n int64) []byte {
		return c.Append(dst, &miner.Request{
			Action: "solution", Miner: name, Network: network, Solution: solutions[n%int64(len(solutions))].String(), ThreadID: "0",
		})
	}
}

// Against prepares requests of an action, readytomine2 or solution, against a
// pool: as many made-up miners ask in turn, or one of them hands in solutions for
// work that it is given now. ok is what a good answer holds.
func Against(ctx context.Context, c *miner.Client, network, action string, miners int) (source Source, ok []byte, err error) {
	net, err := chain.NetworkByName(network)
	if err != nil {
		return nil, nil, fmt.Errorf("load: %w", err)
	}
	rng := mathrand.New(mathrand.NewPCG(1, 0x6c6f6164)) //nolint:gosec // the same miners in every run
	names := make([]string, max(miners, 1))
	for i := range names {
		names[i] = miner.RandomAddress(rng, net)
	}
	switch action {
	case "readytomine2":
		return Work(c, network, names), []byte(WorkOK), nil
	case "solution":
		answer, err := c.Do(ctx, &miner.Request{Action: "readytomine2", Miner: names[0], Network: network, ThreadID: "0"})
		if err != nil {
			return nil, nil, fmt.Errorf("load: %w", err)
		}
		w, err := answer.Work(net)
		if err != nil {
			return nil, nil, fmt.Errorf("load: %w", err)
		}
		source, err := Solutions(c, network, names[0], &w)
		return source, []byte(SolutionOK), err
	}
	return nil, nil, fmt.Errorf("load: there is no action %q; there are readytomine2 and solution", action)
}
