package bbprpc

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Amount is an amount of coins in satoshis, 10^-8 of a coin.
type Amount int64

const satoshisPerCoin = 100_000_000

// String returns the amount in coins with all eight decimals, such as -0.00000001.
func (a Amount) String() string {
	sign, n := "", uint64(a)
	if a < 0 {
		sign, n = "-", -n // right for the least int64 too
	}
	return fmt.Sprintf("%s%d.%08d", sign, n/satoshisPerCoin, n%satoshisPerCoin)
}

// MarshalJSON writes the amount as a JSON number of coins with eight decimals.
func (a Amount) MarshalJSON() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalJSON reads a JSON number of coins, or a string that holds one.
// Error: [ErrAmount].
func (a *Amount) UnmarshalJSON(text []byte) error {
	n, err := ParseAmount(unquote(text))
	if err != nil {
		return err
	}
	*a = n
	return nil
}

// ParseAmount reads coins as JSON writes numbers (-1.5, 12, 1e-8) and gives
// exactly that many satoshis. Error: [ErrAmount] where it is no number, is no
// whole number of satoshis, or exceeds int64.
func ParseAmount(text string) (Amount, error) {
	digits, exponent, negative, ok := splitNumber(text)
	if !ok {
		return 0, fmt.Errorf("%w: %q", ErrAmount, printable(text))
	}
	exponent += 8 // from coins to satoshis
	for exponent < 0 && strings.HasSuffix(digits, "0") {
		digits, exponent = digits[:len(digits)-1], exponent+1
	}
	digits = strings.TrimLeft(digits, "0")
	switch {
	case digits == "":
		return 0, nil
	case exponent < 0:
		return 0, fmt.Errorf("%w: %q has more than eight decimals", ErrAmount, printable(text))
	case len(digits)+exponent > 19: // int64 has at most 19 digits
		return 0, fmt.Errorf("%w: %q is too large", ErrAmount, printable(text))
	}
	n, err := strconv.ParseUint(digits+strings.Repeat("0", exponent), 10, 64)
	switch {
	case err == nil && !negative && n <= math.MaxInt64:
		return Amount(n), nil
	case err == nil && negative && n <= -math.MinInt64:
		return Amount(-n), nil
	}
	return 0, fmt.Errorf("%w: %q is too large", ErrAmount, printable(text))
}

// splitNumber takes a JSON number (RFC 8259, section 6) apart: its value is
// digits · 10^exponent. It takes at most 64 characters and an exponent of two
// digits.
func splitNumber(text string) (digits string, exponent int, negative, ok bool) {
	if len(text) > 64 {
		return "", 0, false, false
	}
	text, negative = strings.CutPrefix(text, "-")
	mantissa, power, scientific := cutExponent(text)
	if scientific {
		unsigned := strings.TrimPrefix(strings.TrimPrefix(power, "+"), "-")
		n, err := strconv.Atoi(power)
		if err != nil || len(unsigned) > 2 || !allDigits(unsigned) {
			return "", 0, false, false
		}
		exponent = n
	}
	whole, fraction, hasFraction := strings.Cut(mantissa, ".")
	if !allDigits(whole) || hasFraction && !allDigits(fraction) || len(whole) > 1 && whole[0] == '0' {
		return "", 0, false, false
	}
	return whole + fraction, exponent - len(fraction), negative, true
}

func cutExponent(text string) (mantissa, power string, found bool) {
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		return text[:i], text[i+1:], true
	}
	return text, "", false
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// unquote takes the quotes from a JSON string without escapes, which is all that
// a number in a string needs; other JSON comes back as it is.
func unquote(text []byte) string {
	s := string(text)
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}
