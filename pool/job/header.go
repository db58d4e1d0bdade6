package job

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"purepool/pool/chain"
	"purepool/pool/pow"
)

// MaxAhead is how far a header's time may lie ahead of the moment at which its
// share arrived: consensus allows two hours, of which a minute is left for the
// daemons' clocks.
const MaxAhead = 2*time.Hour - time.Minute

// TimeAllowed reports whether a header of this job may carry the time, in unix
// seconds, given when its share arrived.
func (j *Job) TimeAllowed(seconds uint32, receivedAt Moment) bool {
	return seconds >= j.MinTime && int64(seconds) <= int64(receivedAt)/1e6+int64(MaxAhead/time.Second)
}

// Assembler puts headers together. It keeps a buffer and a hasher, so it is NOT
// safe for concurrent use: make one per worker. After the first job it allocates
// nothing. A job must not change between two calls.
type Assembler struct {
	algorithm string
	hasher    pow.Hasher
	coinbase  []byte
	header    [chain.HeaderSize]byte

	// The last merkle root. Shares come in groups that differ in nonce and time
	// alone: of one miner, handed on together.
	rootOf  *Job
	rootFor rootKey
	root    [32]byte
}

// rootKey is what a coinbase is made of beside its job.
type rootKey struct {
	extranonce1 Extranonce1
	extranonce2 [MaxExtranonce2]byte
	size        uint8
	target      Bits
}

// Coinbase returns the coinbase that a share was made with, valid until the
// assembler's next call.
func (a *Assembler) Coinbase(j *Job, f *Found) []byte {
	b := append(a.coinbase[:0], j.Coinbase1...)
	if j.BindsTarget {
		b = binary.BigEndian.AppendUint32(b, uint32(f.Target))
	}
	b = append(b, f.Extranonce1[:]...)
	b = append(b, f.Extranonce2[:min(f.Extranonce2Size, MaxExtranonce2)]...)
	a.coinbase = append(b, j.Coinbase2...)
	return a.coinbase
}

// Header returns the 80 bytes of a share's header, valid until the assembler's
// next call.
func (a *Assembler) Header(j *Job, f *Found) []byte {
	if key := (rootKey{f.Extranonce1, f.Extranonce2, f.Extranonce2Size, f.Target}); a.rootOf != j || a.rootFor != key {
		a.rootOf, a.rootFor, a.root = j, key, a.merkleRoot(j, f)
	}
	version := j.Version&^j.VersionMask | f.VersionBits&j.VersionMask
	h := a.header[:]
	binary.LittleEndian.PutUint32(h[0:], version)
	copy(h[4:36], j.Prev[:])
	copy(h[36:68], a.root[:])
	binary.LittleEndian.PutUint32(h[68:], f.Time)
	binary.LittleEndian.PutUint32(h[72:], j.Bits)
	binary.LittleEndian.PutUint32(h[76:], f.Nonce)
	return h
}

func (a *Assembler) merkleRoot(j *Job, f *Found) [32]byte {
	root := doubleHash(a.Coinbase(j, f))
	var pair [64]byte
	for i := range j.Branches {
		copy(pair[:32], root[:])
		copy(pair[32:], j.Branches[i][:])
		root = doubleHash(pair[:])
	}
	return root
}

// Proof returns the hash of a share's header by the job's algorithm, most
// significant byte first; all ones, which meet no target, where the algorithm is
// unknown.
func (a *Assembler) Proof(j *Job, f *Found) [32]byte {
	if a.hasher == nil || a.algorithm != j.Algorithm {
		algorithm, err := pow.AlgorithmByName(j.Algorithm)
		if err != nil {
			var none [32]byte
			for i := range none {
				none[i] = 0xff
			}
			return none
		}
		a.hasher, a.algorithm = algorithm.NewHasher(), j.Algorithm
	}
	return a.hasher.Hash(a.Header(j, f))
}

func doubleHash(b []byte) [32]byte {
	first := sha256.Sum256(b)
	return sha256.Sum256(first[:])
}

// Branches returns the merkle branches of the first of a block's transactions,
// given the ids of the others, from the leaves up.
func Branches(others []chain.Hash) []chain.Hash {
	var branches []chain.Hash
	// The place of the coinbase's own subtree is level[0]; its value is never used.
	level := append([]chain.Hash{{}}, others...)
	for len(level) > 1 {
		branches = append(branches, level[1])
		next := level[:1]
		for i := 2; i < len(level); i += 2 {
			right := level[min(i+1, len(level)-1)] // the last of an odd number pairs with itself
			var pair [64]byte
			copy(pair[:32], level[i][:])
			copy(pair[32:], right[:])
			next = append(next, doubleHash(pair[:]))
		}
		level = next
	}
	return branches
}
