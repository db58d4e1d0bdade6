package vardiff

import "math"

// Every difficulty is a rung of one ladder: 1 and 1.5 times the powers of two, so
// …, 0.75, 1, 1.5, 2, 3, 4, 6, 8, …. A job that binds its shares' targets has
// another text for each of them; with a ladder all miners of a port together use
// some dozens of texts, whatever their number, and no wish of a miner's adds one.
//
// A rung is at most a factor of 1.23 away from any difficulty, less than
// Hysteresis: whatever is worth a change is worth another rung.

// Rung returns the rung that is nearest to a difficulty by their ratio. What is
// not a number, or not above zero, is returned as it is.
func Rung(difficulty float64) float64 {
	low, high := around(difficulty)
	if low == high || difficulty*difficulty < low*high {
		return low
	}
	return high
}

// rungAbove returns the lowest rung that is not below a difficulty.
func rungAbove(difficulty float64) float64 {
	_, high := around(difficulty)
	return high
}

// around returns the rungs below and above; both are the difficulty where it is a
// rung, or has none.
func around(difficulty float64) (low, high float64) {
	if !(difficulty > 0) || math.IsInf(difficulty, 0) {
		return difficulty, difficulty
	}
	fraction, exponent := math.Frexp(difficulty) // 0.5 ≤ fraction < 1
	switch {
	case fraction == 0.5 || fraction == 0.75:
		return difficulty, difficulty
	case fraction < 0.75:
		return math.Ldexp(0.5, exponent), math.Ldexp(0.75, exponent)
	}
	return math.Ldexp(0.75, exponent), math.Ldexp(1, exponent)
}
