// Package scheme divides the reward of a block. It is pure: from weights to
// satoshis, no clock, no database, no randomness, no floats.
//
// Every division is exact: the fee and the parts add up to the reward to the
// satoshi, no part is negative, and the result depends neither on the order of
// the weights nor on how often a miner stands among them.
//
// There are three schemes. [Prop] and [PPLNS] both divide by weight; they differ
// in which shares are weighed (those of the block's round, or the last ones
// before its end, see [Window]). [Solo] gives everything to the finder.
package scheme

import (
	"cmp"
	"errors"
	"fmt"
	"math/big"
	"math/bits"
	"slices"
)

// Name names a scheme in the configuration and in the ledger.
type Name string

// The schemes.
const (
	// Prop pays every credited share since the previous block of the pool.
	Prop Name = "prop"
	// PPLNS pays the last shares before the block, as many as make up a window.
	PPLNS Name = "pplns"
	// Solo pays the finder of the block.
	Solo Name = "solo"
)

// Valid reports whether there is such a scheme.
func (n Name) Valid() bool { return n == Prop || n == PPLNS || n == Solo }

var (
	// ErrReward: a negative reward.
	ErrReward = errors.New("a reward is negative")
	// ErrFee: a fee below nothing or above everything.
	ErrFee = errors.New("a fee is not between 0 and 100 percent")
	// ErrWeight: a weight that is not positive.
	ErrWeight = errors.New("a weight is not positive")
)

// Fee is the pool's part of a reward, in hundred-millionths of it (so that a
// percentage with six decimals is exact): 2.5 percent is 2,500,000.
type Fee int64

// WholeFee is 100 percent.
const WholeFee Fee = 100_000_000

// Of returns the fee of a reward in satoshis, rounded down: what cannot be
// divided stays with the miners. Errors: [ErrReward], [ErrFee].
func (f Fee) Of(reward int64) (int64, error) {
	switch {
	case reward < 0:
		return 0, fmt.Errorf("%w: %d", ErrReward, reward)
	case f < 0 || f > WholeFee:
		return 0, fmt.Errorf("%w: %d", ErrFee, int64(f))
	}
	high, low := bits.Mul64(uint64(reward), uint64(f))
	n, _ := bits.Div64(high, low, uint64(WholeFee)) // high < WholeFee, since f <= WholeFee
	return int64(n), nil
}

// Weight is what a miner has done: the expected hashes of his shares.
type Weight struct {
	Miner  int64
	Hashes *big.Int // positive
}

// Credit is what a miner gets, in satoshis; never zero or negative.
type Credit struct {
	Miner    int64
	Satoshis int64
}

// Division says who gets what of a reward. Fee, Unclaimed and the credits add up
// to it.
type Division struct {
	Fee int64
	// Unclaimed is what nobody has worked for: the reward less the fee of a block
	// without weights. The pool keeps it, in an account of its own.
	Unclaimed int64
	Credits   []Credit // in the order of the miners' ids
}

// Divide takes the fee from a reward and divides the rest by weight. Errors:
// [ErrReward], [ErrFee], [ErrWeight].
func Divide(reward int64, fee Fee, weights []Weight) (Division, error) {
	taken, err := fee.Of(reward)
	if err != nil {
		return Division{}, err
	}
	credits, err := Split(reward-taken, weights)
	if err != nil {
		return Division{}, err
	}
	d := Division{Fee: taken, Credits: credits}
	if len(weights) == 0 {
		d.Unclaimed = reward - taken
	}
	return d, nil
}

// Split divides an amount of satoshis by weight: each miner gets the whole
// satoshis of amount · weight / total, and the satoshis that remain go one each
// to the largest fractions, ties to the smaller miner id. A miner who stands in
// the list several times counts once, with the sum. Miners who get nothing are
// left out. Without weights nobody gets anything. Errors: [ErrReward],
// [ErrWeight].
func Split(amount int64, weights []Weight) ([]Credit, error) {
	if amount < 0 {
		return nil, fmt.Errorf("%w: %d", ErrReward, amount)
	}
	merged, total, err := merge(weights)
	if err != nil || len(merged) == 0 || amount == 0 {
		return nil, err
	}
	parts := make([]part, len(merged))
	var given int64
	// The usual case: all the work of the round is below 2^64 hashes, and one
	// machine division a miner does.
	small := total.IsUint64()
	var product, quotient big.Int
	scale := big.NewInt(amount)
	for i, w := range merged {
		p := &parts[i]
		p.miner = w.Miner
		if small {
			high, low := bits.Mul64(uint64(amount), w.Hashes.Uint64())
			whole, rest := bits.Div64(high, low, total.Uint64()) // high < total: the weight is at most total
			p.satoshis, p.rest = int64(whole), rest
		} else {
			p.bigRest = new(big.Int)
			quotient.QuoRem(product.Mul(scale, w.Hashes), total, p.bigRest)
			p.satoshis = quotient.Int64()
		}
		given += p.satoshis
	}
	handOut(parts, amount-given)
	credits := make([]Credit, 0, len(parts))
	for i := range parts {
		if parts[i].satoshis > 0 {
			credits = append(credits, Credit{parts[i].miner, parts[i].satoshis})
		}
	}
	return credits, nil
}

type part struct {
	miner    int64
	satoshis int64
	rest     uint64   // of the division, where the total fits
	bigRest  *big.Int // of the division, otherwise
}

// handOut gives the remaining satoshis, fewer than there are parts, to the
// largest rests. Parts stay in the order of their miners.
func handOut(parts []part, remaining int64) {
	if remaining == 0 {
		return
	}
	order := make([]int32, len(parts))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		x, y := &parts[a], &parts[b]
		if x.bigRest != nil {
			return cmp.Or(y.bigRest.Cmp(x.bigRest), cmp.Compare(x.miner, y.miner))
		}
		return cmp.Or(cmp.Compare(y.rest, x.rest), cmp.Compare(x.miner, y.miner))
	})
	for _, i := range order[:remaining] {
		parts[i].satoshis++
	}
}

// merge returns the weights sorted by miner, each once, and their sum.
func merge(weights []Weight) ([]Weight, *big.Int, error) {
	merged, total := make([]Weight, 0, len(weights)), new(big.Int)
	for _, w := range weights {
		if w.Hashes == nil || w.Hashes.Sign() <= 0 {
			return nil, nil, fmt.Errorf("%w: miner %d", ErrWeight, w.Miner)
		}
		total.Add(total, w.Hashes)
		merged = append(merged, w)
	}
	slices.SortStableFunc(merged, func(a, b Weight) int { return cmp.Compare(a.Miner, b.Miner) })
	n := 0
	for i, w := range merged {
		if i > 0 && merged[n-1].Miner == w.Miner {
			merged[n-1].Hashes = new(big.Int).Add(merged[n-1].Hashes, w.Hashes)
			continue
		}
		merged[n] = w
		n++
	}
	return merged[:n], total, nil
}

// Window is how much work PPLNS looks back on: factor, in thousandths, times the
// expected hashes of one block of the network. At least one hash.
func Window(network *big.Int, factor int64) *big.Int {
	n := new(big.Int).Mul(network, big.NewInt(factor))
	n.Quo(n, big.NewInt(1000))
	if n.Sign() <= 0 {
		n.SetInt64(1)
	}
	return n
}

// SoloWeight is the weight of the one who gets all; none where the finder is not
// known (0).
func SoloWeight(finder int64) []Weight {
	if finder == 0 {
		return nil
	}
	return []Weight{{Miner: finder, Hashes: big.NewInt(1)}}
}
