package miner

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"purepool/pool/chain"
	"purepool/pool/pow"
	"purepool/sim/daemon"
)

// Identity is who a miner is in the blocks that it builds.
type Identity struct {
	Address chain.Address
	CPID    string // 32 hex digits
	Version string // of the client
}

// Digger searches for solutions. It is not safe for concurrent use: one for every
// thread.
type Digger struct {
	who    Identity
	hasher pow.Hasher
	rng    *rand.Rand

	started time.Time
	hashes  int64 // since started
}

// NewDigger returns a digger whose choices are made by rng.
func NewDigger(who Identity, rng *rand.Rand) *Digger {
	return &Digger{who: who, hasher: pow.X11().NewHasher(), rng: rng, started: time.Now()}
}

// Solution is a solution, field by field, and what is known of it.
type Solution struct {
	Fields [16]string
	Proof  [32]byte // BibleHash, big-endian
	Height int64    // height of the previous block
	// Block is set where the proof meets the chain's own target: the block's bytes.
	Block []byte

	in     daemon.HashInput
	target pow.Target
}

// String returns the 16 fields as they go over the wire.
func (s *Solution) String() string { return strings.Join(s.Fields[:], ",") }

// The fields of a solution, by their place.
const (
	fieldBlockHash = iota
	fieldBlockTime
	fieldPrevTime
	fieldPrevHeight
	fieldBibleHash
	fieldMinerID
	fieldWorkID
	fieldThreadID
	fieldThreadHashes
	fieldThreadStart
	fieldHashes
	fieldTimerStart
	fieldTimerEnd
	fieldNonce
	fieldBlockHex
	fieldTransactionHex
)

// plan is what a digger builds. An honest one comes from newPlan; faults change it.
type plan struct {
	template daemon.Template
	work     Work
	outputs  []chain.Output // of the coinbase
	nonce    uint32         // the first one tried
	merkle   func(*chain.Hash)
}

// noncesPerBlock is how many nonces are tried before the block is built anew, on
// the tip of that moment: all of them are allowed on a tip of any age.
const noncesPerBlock = 256

func (d *Digger) newPlan(t *daemon.Template, w *Work) *plan {
	p := &plan{template: *t, work: *w}
	p.pay(chain.PayTo(w.PoolAddress, t.CoinbaseValue, d.message(w.MinerGUID, d.sign(d.who.CPID))))
	return p
}

func (p *plan) pay(outputs ...chain.Output) { p.outputs = outputs }

// message is the coinbase message of a client, with its CPID's signature.
func (d *Digger) message(guid, signature string) []byte {
	return append(chain.ClassicMessage(d.who.Version, guid), "<cpidsig>"+signature+"</cpidsig>"...)
}

func (d *Digger) sign(cpid string) string { return daemon.SignCPID(cpid, d.who.Address.String()) }

// Find searches until it has a solution for the work. The error is the source's,
// or the context's.
func (d *Digger) Find(ctx context.Context, source Source, w *Work) (*Solution, error) {
	return d.find(ctx, source, w, nil)
}

func (d *Digger) find(ctx context.Context, source Source, w *Work, change func(*Digger, *plan)) (*Solution, error) {
	for {
		t, err := source.Template(ctx)
		if err != nil {
			return nil, fmt.Errorf("asking the own node: %w", err)
		}
		p := d.newPlan(&t, w)
		if change != nil {
			change(d, p)
		}
		if s := d.try(p); s != nil {
			return s, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// try builds one block and searches its first nonces; nil where none will do.
func (d *Digger) try(p *plan) *Solution {
	t := &p.template
	extra := []byte{8, 0, 0, 0, 0, 0, 0, 0, 0} // pushes eight bytes
	for i := 1; i < len(extra); i++ {
		extra[i] = byte(d.rng.Uint32())
	}
	coinbase := chain.NewCoinbase(t.Height, extra, p.outputs...)
	block := chain.NewBlock(chain.Header{
		Version: 0x20000000, Prev: t.PrevHash, Time: uint32(t.Time), Bits: t.Bits, Nonce: p.nonce,
	}, coinbase)
	if p.merkle != nil {
		p.merkle(&block.Header.MerkleRoot)
	}
	in := daemon.HashInput{BlockTime: t.Time, PrevBlockTime: t.PrevTime, PrevHeight: t.Height - 1}
	for range noncesPerBlock {
		header := block.Header.Bytes()
		d.hashes++
		in.BlockHash, in.Nonce = d.hasher.Hash(header[:]), block.Header.Nonce
		if proof := daemon.BibleHash(in); p.work.Target.MetBy(proof) {
			return d.solution(p, block, in, proof)
		}
		block.Header.Nonce++
	}
	return nil
}

func (d *Digger) solution(p *plan, block *chain.Block, in daemon.HashInput, proof [32]byte) *Solution {
	raw := block.Encode()
	s := &Solution{Height: in.PrevHeight, target: p.work.Target}
	if target, err := pow.TargetFromCompact(p.template.Bits); err == nil && target.MetBy(proof) {
		s.Block = raw
	}
	now := time.Now()
	s.Fields = [16]string{
		fieldMinerID: p.work.MinerGUID, fieldWorkID: p.work.WorkID, fieldThreadID: "0",
		fieldThreadHashes: strconv.FormatInt(d.hashes, 10),
		fieldThreadStart:  strconv.FormatInt(d.started.UnixMilli(), 10),
		fieldHashes:       strconv.FormatInt(d.hashes, 10),
		fieldTimerStart:   strconv.FormatInt(d.started.UnixMilli(), 10),
		fieldTimerEnd:     strconv.FormatInt(now.UnixMilli(), 10),
		fieldBlockHex:     hex.EncodeToString(raw),
	}
	s.Fields[fieldTransactionHex] = hex.EncodeToString(block.Transactions[0].Encode())
	s.claim(in, proof)
	return s
}

// claim writes what the BibleHash was computed of, and the BibleHash, into the
// fields.
func (s *Solution) claim(in daemon.HashInput, proof [32]byte) {
	s.in, s.Proof = in, proof
	s.Fields[fieldBlockHash] = hex.EncodeToString(in.BlockHash[:])
	s.Fields[fieldBlockTime] = strconv.FormatInt(in.BlockTime, 10)
	s.Fields[fieldPrevTime] = strconv.FormatInt(in.PrevBlockTime, 10)
	s.Fields[fieldPrevHeight] = strconv.FormatInt(in.PrevHeight, 10)
	s.Fields[fieldBibleHash] = hex.EncodeToString(proof[:])
	s.Fields[fieldNonce] = strconv.FormatUint(uint64(in.Nonce), 10)
}

// reprove claims something else than what was mined, changed by next until its
// BibleHash meets the target, so that the daemon finds nothing wrong with it.
func (s *Solution) reprove(next func(*daemon.HashInput)) {
	in := s.in
	for {
		next(&in)
		if proof := daemon.BibleHash(in); s.target.MetBy(proof) {
			s.claim(in, proof)
			s.Block = nil
			return
		}
	}
}
