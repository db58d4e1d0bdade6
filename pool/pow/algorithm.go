package pow

import (
	"crypto/sha256"
	"slices"
	"sync"

	"github.com/bitbandi/go-x11"
	"golang.org/x/crypto/scrypt"
)

// Hasher computes one hash function. It keeps buffers, so it is NOT safe for
// concurrent use: make one per worker, or use a [Pool].
type Hasher interface {
	// Hash returns the hash of data (as a rule an 80-byte header), most
	// significant byte first. It keeps no reference to data.
	Hash(data []byte) [32]byte
}

// Algorithm is a hash function of proofs of work. It is safe for concurrent use.
type Algorithm interface {
	// Name is the name in the configuration: x11, scrypt or sha256d.
	Name() string
	NewHasher() Hasher
}

// X11 is Dash's and BiblePay's: eleven hash functions in a row. It allocates
// nothing per hash and takes about 35 µs.
func X11() Algorithm { return algorithm{"x11", func() Hasher { return &x11Hasher{chain: x11.New()} }} }

// Scrypt is Litecoin's: N=1024, r=1, p=1, the data being its own salt. It
// allocates about 130 kB per hash.
func Scrypt() Algorithm { return algorithm{"scrypt", func() Hasher { return scryptHasher{} }} }

// SHA256d is Bitcoin's: SHA-256 of SHA-256. It allocates nothing per hash.
func SHA256d() Algorithm { return algorithm{"sha256d", func() Hasher { return sha256dHasher{} }} }

// AlgorithmByName returns the algorithm of this exact name. Error:
// [ErrUnknownAlgorithm].
func AlgorithmByName(name string) (Algorithm, error) {
	for _, a := range []Algorithm{X11(), Scrypt(), SHA256d()} {
		if a.Name() == name {
			return a, nil
		}
	}
	return nil, ErrUnknownAlgorithm
}

type algorithm struct {
	name      string
	newHasher func() Hasher
}

func (a algorithm) Name() string      { return a.name }
func (a algorithm) NewHasher() Hasher { return a.newHasher() }

// x11Hasher owns its output buffer: a slice of a local array would escape to the
// heap through the library's interfaces.
type x11Hasher struct {
	chain *x11.Hash
	// The library copies 64 bytes where 64 fit; only the first 32 are the hash.
	out [64]byte
}

func (h *x11Hasher) Hash(data []byte) [32]byte {
	h.chain.Hash(data, h.out[:])
	return reversed([32]byte(h.out[:32]))
}

type sha256dHasher struct{}

func (sha256dHasher) Hash(data []byte) [32]byte {
	first := sha256.Sum256(data)
	return reversed(sha256.Sum256(first[:]))
}

type scryptHasher struct{}

func (scryptHasher) Hash(data []byte) [32]byte {
	out, err := scrypt.Key(data, data, 1024, 1, 1, 32)
	if err != nil { // only for parameters that are wrong, and these are constants
		panic("pow: scrypt: " + err.Error())
	}
	return reversed([32]byte(out))
}

func reversed(h [32]byte) [32]byte {
	slices.Reverse(h[:])
	return h
}

// Pool hands hashers to whoever asks. It is safe for concurrent use.
type Pool struct {
	hashers sync.Pool
}

// NewPool returns a pool of hashers of one algorithm.
func NewPool(a Algorithm) *Pool {
	return &Pool{hashers: sync.Pool{New: func() any { return a.NewHasher() }}}
}

// Hash is [Hasher.Hash]. It is safe for concurrent use.
func (p *Pool) Hash(data []byte) [32]byte {
	h := p.hashers.Get().(Hasher)
	sum := h.Hash(data)
	p.hashers.Put(h)
	return sum
}
