package settle

import (
	"math/big"

	"purepool/ledger"
)

// RateMiners compares each miner's shares for a block with the pool's: the
// original's evaluate_miner. The pool's ratio is the shares of those who found
// blocks, divided by the pool's blocks; a miner's is his shares divided by his
// blocks, or his shares where he has none; the percentage is the one of the
// other. Many shares and few blocks make a high one.
//
// Where nobody known has found a block, or those who have handed no share in,
// there is nothing to compare with, and every rating is 0. Everything is
// computed in whole numbers.
func RateMiners(work []ledger.MinerWork) []ledger.MinerRating {
	var blocks, finderShares int64
	for _, w := range work {
		blocks += w.Blocks
		if w.Blocks > 0 && w.MinerID != 0 {
			finderShares += w.Shares
		}
	}
	ratings := make([]ledger.MinerRating, 0, len(work))
	for _, w := range work {
		if w.MinerID == 0 {
			continue
		}
		own := big.NewRat(w.Shares, max(w.Blocks, 1))
		r := ledger.MinerRating{MinerWork: w, Ratio: own.FloatString(2), Percent: "0.00"}
		if blocks > 0 && finderShares > 0 {
			percent := new(big.Rat).Quo(own.Mul(own, big.NewRat(100, 1)), big.NewRat(finderShares, blocks))
			r.Percent, r.Rating = percent.FloatString(2), rate(percent, w.Blocks)
		}
		ratings = append(ratings, r)
	}
	return ratings
}

// rate applies the original's steps, of which the last that fits counts.
func rate(percent *big.Rat, blocks int64) (rating int) {
	below := func(n int64) bool { return percent.Cmp(big.NewRat(n, 1)) < 0 }
	above := func(n int64) bool { return percent.Cmp(big.NewRat(n, 1)) > 0 }
	for _, step := range []struct {
		fits   bool
		rating int
	}{
		{below(70), -1},
		{below(30), -2},
		{above(130), 1},
		{above(250), 2},
		{above(400), 3},
		{blocks > 5 && below(80), -1},
		{blocks > 5 && below(70), -2},
		{blocks > 5 && below(60), -3},
		{blocks == 0 && below(100), 0},
	} {
		if step.fits {
			rating = step.rating
		}
	}
	return rating
}
