package web

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// nbsp keeps a number and its unit together.
const nbsp = "\u00a0"

// formatNumber writes a whole number with thousands set apart.
func formatNumber(n int64) string {
	digits := strconv.FormatUint(magnitude(n), 10)
	var b strings.Builder
	if n < 0 {
		b.WriteString("−")
	}
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return uint64(-(n + 1)) + 1
	}
	return uint64(n)
}

// formatCoins writes satoshis as coins, exactly, with at least two decimals.
func formatCoins(satoshis int64) string {
	m := magnitude(satoshis)
	sign := ""
	if satoshis < 0 {
		sign = "−"
	}
	decimals := strings.TrimRight(fmt.Sprintf("%08d", m%satoshisPerCoin), "0")
	for len(decimals) < 2 {
		decimals += "0"
	}
	return sign + formatNumber(int64(m/satoshisPerCoin)) + "." + decimals
}

const satoshisPerCoin = 100_000_000

var siPrefixes = []string{"", "k", "M", "G", "T", "P", "E", "Z", "Y"}

// formatSI writes a quantity with three digits that count and a prefix.
func formatSI(v float64, unit string) string {
	if v < 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	i := 0
	for v >= 999.5 && i < len(siPrefixes)-1 {
		v /= 1000
		i++
	}
	digits := 0
	if i > 0 {
		digits = max(0, 2-int(math.Log10(max(v, 1))))
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + nbsp + siPrefixes[i] + unit
}

// formatRate writes hashes per second.
func formatRate(perSecond int64) string { return formatSI(float64(perSecond), "H/s") }

// formatPercent writes a ratio, 1 being a hundred percent; negative: unknown.
func formatPercent(ratio float64) string {
	if ratio < 0 || math.IsNaN(ratio) || math.IsInf(ratio, 0) {
		return "–"
	}
	digits := 0
	if ratio < 0.1 {
		digits = 1
	}
	return strconv.FormatFloat(100*ratio, 'f', digits, 64) + nbsp + "%"
}

// formatSpan writes a length of time in its largest unit or two.
func formatSpan(d time.Duration) string {
	d = max(d, 0)
	count := func(n time.Duration, unit string) string { return fmt.Sprintf("%d%s%s", n, nbsp, unit) }
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return count(d/time.Second, "s")
	case d < time.Hour:
		return count(d/time.Minute, "min")
	case d < 6*time.Hour && d%time.Hour >= time.Minute:
		return count(d/time.Hour, "h") + nbsp + count(d%time.Hour/time.Minute, "min")
	case d < 2*day:
		return count(d/time.Hour, "h")
	default:
		return count(d/day, "days")
	}
}

// formatAgo writes how long ago a moment was.
func formatAgo(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := now.Sub(t)
	if d < 5*time.Second {
		return "just now"
	}
	return formatSpan(d) + " ago"
}

// formatMoment writes a moment in UTC.
func formatMoment(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2" + nbsp + "Jan" + nbsp + "2006, 15:04")
}

// formatHash writes the whole hash in hex; shortHash its ends.
func formatHash(h [32]byte) string { return hex.EncodeToString(h[:]) }

func shortHash(h [32]byte) string {
	s := formatHash(h)
	return s[:10] + "…" + s[len(s)-6:]
}

// shortAddress keeps enough of an address to know it by.
func shortAddress(a string) string {
	if len(a) <= 16 || !isASCII(a) {
		return a
	}
	return a[:8] + "…" + a[len(a)-6:]
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// difficulty of a target is how many times harder it is than the easiest one of
// the algorithm's custom: 2^32 hashes, for scrypt 2^16.
func difficulty(hashes float64, algorithm string) string {
	if hashes <= 0 {
		return "–"
	}
	unit := math.Exp2(32)
	if algorithm == "scrypt" {
		unit = math.Exp2(16)
	}
	d := hashes / unit
	if d >= 1000 {
		return formatNumber(int64(min(d, 9e18)))
	}
	// Three digits that count, never with an exponent.
	digits := max(0, 2-int(math.Floor(math.Log10(d))))
	return strconv.FormatFloat(d, 'f', digits, 64)
}
