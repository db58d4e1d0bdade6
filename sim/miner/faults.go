package miner

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/google/uuid"

	"purepool/pool/chain"
	"purepool/sim/daemon"
)

// Fault is one way in which a solution can be wrong, and what a pool must say to
// it.
type Fault struct {
	Name string
	// Answer is what the pool's answer to the miner contains. Empty: the pool
	// answers ok, and rejects the share afterwards.
	Answer string
	// Reason is the name under which the ledger holds the rejection (or the refusal
	// at the front desk). Empty: nothing is written down.
	Reason string
	// Twice: the solution is sound, and handed in a second time; the second time is
	// what is wrong.
	Twice bool

	plan    func(*Digger, *plan)        // changes what is mined
	spoil   func(*Solution, *rand.Rand) // changes what is claimed
	request func(*Request)              // changes what is sent
}

// Faults returns the table of all faults. What a pool says to each is in the names
// of docs/PROTOCOL.md and of purepool/pool/validate.
func Faults() []Fault {
	list := []Fault{
		{Name: "no-solution", Answer: "Solution is missing", request: func(r *Request) { r.NoSolution = true }},
		{Name: "unknown-network", Answer: "Invalid network", request: func(r *Request) { r.Network = "nonet" }},
		{Name: "unknown-action", Answer: "UNKNOWN ACTION solve", request: func(r *Request) { r.Action = "solve" }},
		{
			Name: "duplicate", Twice: true,
			Answer: "BibleHashAlreadyKnown", Reason: "BibleHashAlreadyKnown",
		},
	}
	list = append(list, malformedFaults()...)
	list = append(list, claimFaults()...)
	return append(list, blockFaults()...)
}

// FaultByName returns a fault of the table.
func FaultByName(name string) (Fault, error) {
	var names []string
	for _, f := range Faults() {
		if f.Name == name {
			return f, nil
		}
		names = append(names, f.Name)
	}
	return Fault{}, fmt.Errorf("there is no fault %q; there are %s", name, strings.Join(names, ", "))
}

// malformedFaults cannot be read.
func malformedFaults() []Fault {
	const short, bad, reason = "Invalit Solution", "Solution is invalid", "SolutionInvalid"
	field := func(i int, change func(string) string) func(*Solution, *rand.Rand) {
		return func(s *Solution, _ *rand.Rand) { s.Fields[i] = change(s.Fields[i]) }
	}
	value := func(v string) func(string) string { return func(string) string { return v } }
	return []Fault{
		{Name: "garbage", Answer: short, Reason: reason, request: func(r *Request) {
			r.Solution = strings.Map(func(c rune) rune { return 'A' + c%26 }, r.Solution)
		}},
		{Name: "missing-fields", Answer: short, Reason: reason, request: func(r *Request) {
			r.Solution = r.Solution[:strings.LastIndexByte(r.Solution, ',')]
		}},
		{Name: "empty-solution", Answer: short, Reason: reason, request: func(r *Request) { r.Solution = "" }},
		{Name: "negative-nonce", Answer: bad, Reason: reason, spoil: field(fieldNonce, value("-5"))},
		{Name: "spaced-nonce", Answer: bad, Reason: reason, spoil: field(fieldNonce, value(" 1_0 "))},
		{Name: "huge-nonce", Answer: bad, Reason: reason, spoil: field(fieldNonce, value("4294967296"))},
		{Name: "empty-time", Answer: bad, Reason: reason, spoil: field(fieldBlockTime, value(""))},
		{Name: "short-hash", Answer: bad, Reason: reason, spoil: field(fieldBlockHash, func(s string) string { return s[2:] })},
		{Name: "no-uuid", Answer: bad, Reason: reason, spoil: field(fieldMinerID, value("me"))},
		{Name: "odd-hex", Answer: bad, Reason: reason, spoil: field(fieldBlockHex, func(s string) string { return s[1:] })},
		{Name: "no-hex", Answer: bad, Reason: reason, spoil: field(fieldTransactionHex, func(s string) string { return "zz" + s })},
	}
}

// claimFaults are sound blocks under claims that are not theirs.
func claimFaults() []Fault {
	return []Fault{
		{
			Name: "unknown-work", Answer: "was not given to miner", Reason: "UnknownWork",
			spoil: func(s *Solution, rng *rand.Rand) { s.Fields[fieldWorkID] = randomUUID(rng) },
		},
		{
			Name: "other-miner", Answer: "was not given to miner", Reason: "UnknownWork",
			spoil: func(s *Solution, rng *rand.Rand) { s.Fields[fieldMinerID] = randomUUID(rng) },
		},
		{
			Name: "above-target", Answer: "HashTargetExceeded", Reason: "HashTargetExceeded",
			spoil: func(s *Solution, rng *rand.Rand) {
				for i := range s.Proof {
					s.Proof[i] = 0xff
				}
				binary.BigEndian.PutUint32(s.Proof[28:], rng.Uint32())
				s.Fields[fieldBibleHash] = hex.EncodeToString(s.Proof[:])
			},
		},
		{Name: "wrong-biblehash", Reason: "BibleHashWrong", spoil: func(s *Solution, rng *rand.Rand) {
			// Still below the target, and of no other share.
			binary.BigEndian.PutUint64(s.Proof[24:], rng.Uint64())
			binary.BigEndian.PutUint64(s.Proof[16:], rng.Uint64())
			s.Proof[0], s.Proof[1] = 0, 0
			copy(s.Proof[2:8], make([]byte, 6))
			s.Fields[fieldBibleHash] = hex.EncodeToString(s.Proof[:])
		}},
		{Name: "wrong-block-hash", Reason: "BlockHashWrong", spoil: func(s *Solution, rng *rand.Rand) {
			s.reprove(func(in *daemon.HashInput) { binary.BigEndian.PutUint64(in.BlockHash[:], rng.Uint64()) })
		}},
		{Name: "wrong-block-time", Reason: "BlockTimeWrong", spoil: func(s *Solution, _ *rand.Rand) {
			s.reprove(func(in *daemon.HashInput) { in.BlockTime-- })
		}},
		{Name: "wrong-nonce", Reason: "NonceWrong", spoil: func(s *Solution, _ *rand.Rand) {
			s.reprove(func(in *daemon.HashInput) { in.Nonce++ })
		}},
		{Name: "wrong-previous-time", Reason: "PrevBlockTimeWrong", spoil: func(s *Solution, _ *rand.Rand) {
			s.reprove(func(in *daemon.HashInput) { in.PrevBlockTime-- })
		}},
		{Name: "cut-block", Reason: "TransactionInvalid", spoil: func(s *Solution, _ *rand.Rand) {
			s.Fields[fieldBlockHex] = s.Fields[fieldBlockHex][:len(s.Fields[fieldBlockHex])-2]
		}},
		{Name: "cut-transaction", Reason: "TransactionInvalid", spoil: func(s *Solution, _ *rand.Rand) {
			s.Fields[fieldTransactionHex] = s.Fields[fieldTransactionHex][:len(s.Fields[fieldTransactionHex])-2]
		}},
		{Name: "other-transaction", Reason: "TransactionTampered: Not the coinbase", spoil: func(s *Solution, _ *rand.Rand) {
			// Another lock time makes another transaction.
			s.Fields[fieldTransactionHex] = s.Fields[fieldTransactionHex][:len(s.Fields[fieldTransactionHex])-8] + "01000000"
		}},
	}
}

// blockFaults are blocks that must not be.
func blockFaults() []Fault {
	return []Fault{
		{Name: "wrong-merkle-root", Reason: "MerkleRootWrong", plan: func(d *Digger, p *plan) {
			p.merkle = func(root *chain.Hash) { root[d.rng.IntN(32)] ^= 1 }
		}},
		{Name: "other-guid", Reason: "MinerGuidWrong", plan: func(d *Digger, p *plan) {
			p.outputs[0].Message = d.message(randomUUID(d.rng), d.sign(d.who.CPID))
		}},
		{Name: "no-guid", Reason: "MinerGuidWrong", plan: func(_ *Digger, p *plan) { p.outputs[0].Message = nil }},
		{Name: "own-recipient", Reason: "TransactionTampered: Invalid recipient", plan: func(d *Digger, p *plan) {
			p.outputs[0].Script = d.who.Address.PayScript()
		}},
		{Name: "underpaid", Reason: "TransactionTampered: Pool paid too little", plan: func(d *Digger, p *plan) {
			p.pay(
				chain.PayTo(p.work.PoolAddress, 1, p.outputs[0].Message),
				chain.PayTo(d.who.Address, p.template.CoinbaseValue-1, nil),
			)
		}},
		{Name: "invalid-cpid", Reason: "Invalid_CPID", plan: func(d *Digger, p *plan) {
			p.outputs[0].Message = d.message(p.work.MinerGUID, d.who.CPID+";"+d.who.Address.String()+";forged")
		}},
		{Name: "illegal-cpid", Reason: "Illegal_CPID", plan: func(d *Digger, p *plan) {
			p.outputs[0].Message = d.message(p.work.MinerGUID, d.sign(daemon.IllegalCPID))
		}},
		{Name: "high-nonce", Reason: "TransactionTampered: Nonce height wrong", plan: func(d *Digger, p *plan) {
			p.nonce = 1_000_000_000 + d.rng.Uint32N(1<<30) // above what any age of the tip allows
		}},
		{Name: "stale", Reason: "TransactionTampered: Wrong height", plan: func(d *Digger, p *plan) {
			p.template.Height = max(p.template.Height-3, 1)
			p.template.PrevHash[31] ^= byte(1 + d.rng.IntN(255))
		}},
		{Name: "future", Reason: "TransactionTampered: Wrong height", plan: func(d *Digger, p *plan) {
			p.template.Height += 3
			p.template.PrevHash[31] ^= byte(1 + d.rng.IntN(255))
		}},
		{Name: "other-previous-block", Reason: "PrevBlockHashWrong", plan: func(d *Digger, p *plan) {
			p.template.PrevHash[31] ^= byte(1 + d.rng.IntN(255))
		}},
	}
}

func randomUUID(rng *rand.Rand) string {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], rng.Uint64())
	binary.BigEndian.PutUint64(id[8:], rng.Uint64())
	id[6] = id[6]&0x0f | 0x40 // version 4
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}
