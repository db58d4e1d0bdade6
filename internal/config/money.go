package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Coins is an exact amount of coins in satoshis, 10^-8 of a coin, written as a
// decimal number: "10" is 1,000,000,000. Never a float: it is money.
type Coins int64

// UnmarshalText reads an amount with at most eight decimals.
func (c *Coins) UnmarshalText(text []byte) error {
	n, ok := parseDecimal(string(text), 11, 8)
	if !ok {
		return fmt.Errorf(`%q is no amount of coins, write a decimal number with at most eight decimals, like "10" or "0.5"`, clip(string(text)))
	}
	*c = Coins(n)
	return nil
}

// String writes the shortest decimal form.
func (c Coins) String() string { return formatDecimal(int64(c), 8) }

// Factor is an exact decimal number in thousandths: "2.5" is 2,500.
type Factor int64

// UnmarshalText reads a number with at most three decimals.
func (f *Factor) UnmarshalText(text []byte) error {
	n, ok := parseDecimal(string(text), 6, 3)
	if !ok {
		return fmt.Errorf(`%q is no number, write a decimal number with at most three decimals, like "2" or "1.5"`, clip(string(text)))
	}
	*f = Factor(n)
	return nil
}

// String writes the shortest decimal form.
func (f Factor) String() string { return formatDecimal(int64(f), 3) }

// parseDecimal reads digits with at most that many before and after the point,
// in units of the last decimal.
func parseDecimal(s string, digits, decimals int) (int64, bool) {
	whole, fraction, hasPoint := strings.Cut(s, ".")
	if whole == "" || len(whole) > digits || len(fraction) > decimals || (hasPoint && fraction == "") ||
		strings.Trim(whole+fraction, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(whole+fraction+strings.Repeat("0", decimals-len(fraction)), 10, 64)
	return n, err == nil
}

func formatDecimal(n int64, decimals int) string {
	s := fmt.Sprintf("%0*d", decimals+1, n)
	point := len(s) - decimals
	return strings.TrimSuffix(strings.TrimRight(s[:point]+"."+s[point:], "0"), ".")
}

// DayTime is a time of day, since midnight; "24:00" is the day's end.
type DayTime time.Duration

// UnmarshalText reads hours and minutes.
func (d *DayTime) UnmarshalText(text []byte) error {
	hours, minutes, ok := strings.Cut(string(text), ":")
	h, ok1 := parseDecimal(hours, 2, 0)
	m, ok2 := parseDecimal(minutes, 2, 0)
	if !ok || !ok1 || !ok2 || len(hours) != 2 || len(minutes) != 2 || m > 59 || 60*h+m > 24*60 {
		return fmt.Errorf(`%q is no time of day, write hours and minutes from "00:00" to "24:00"`, clip(string(text)))
	}
	*d = DayTime(time.Duration(60*h+m) * time.Minute)
	return nil
}

// String writes hours and minutes.
func (d DayTime) String() string {
	minutes := int64(time.Duration(d) / time.Minute)
	return fmt.Sprintf("%02d:%02d", minutes/60, minutes%60)
}
