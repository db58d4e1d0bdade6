package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"
)

// Bytes is a size in bytes, written "8MiB" (KiB, MiB, GiB, TiB are powers of
// 1024; kB, MB, GB, TB powers of 1000; B or nothing is bytes).
type Bytes int64

var byteUnits = []struct {
	suffix string
	factor int64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"kB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
	{"", 1},
}

// UnmarshalText reads a size.
func (b *Bytes) UnmarshalText(text []byte) error {
	s := string(text)
	digits := strings.TrimRight(s, "kKMGTiB ")
	unit := strings.TrimLeft(s[len(digits):], " ")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 {
		return fmt.Errorf(`%q is no size, write a whole number and a unit like "8MiB"`, s)
	}
	for _, u := range byteUnits {
		if u.suffix != unit {
			continue
		}
		if n > math.MaxInt64/u.factor {
			return fmt.Errorf("%q is too large a size", s)
		}
		*b = Bytes(n * u.factor)
		return nil
	}
	return fmt.Errorf(`%q has no unit that is known here, write B, KiB, MiB, GiB, TiB, kB, MB, GB or TB`, s)
}

// String writes a size with the largest binary unit that divides it.
func (b Bytes) String() string {
	for i := 3; i >= 0; i-- {
		if u := byteUnits[i]; b != 0 && int64(b)%u.factor == 0 {
			return strconv.FormatInt(int64(b)/u.factor, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// parseDuration reads a Go duration, or whole days as "14d".
func parseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseInt(days, 10, 32)
		if err == nil && n >= 0 && n <= 36500 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf(`%q is no duration, write a number and a unit like "250ms", "30s", "5m", "1h30m" or "14d"`, s)
	}
	return d, nil
}

// formatDuration writes a duration as an operator would: "14d", "1h30m", "30s".
func formatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	s = strings.TrimSuffix(s, "m0s")
	if len(s) < len(d.String()) {
		s += "m"
	}
	if rest, ok := strings.CutSuffix(s, "h0m"); ok {
		s = rest + "h"
	}
	return s
}

// Percent is an exact decimal percentage from 0 to 100 in millionths of a
// percent, so "2.5" is 2,500,000. Never a float: it divides money.
type Percent int64

// PercentUnit is one percent.
const PercentUnit Percent = 1_000_000

// UnmarshalText reads a percentage with at most six decimals.
func (p *Percent) UnmarshalText(text []byte) error {
	s := string(text)
	bad := fmt.Errorf(`%q is no percentage, write a decimal number from 0 to 100 with at most six decimals, like "2.5"`, s)
	whole, fraction, hasPoint := strings.Cut(s, ".")
	if whole == "" || len(whole) > 3 || len(fraction) > 6 || (hasPoint && fraction == "") {
		return bad
	}
	for _, r := range whole + fraction {
		if r < '0' || r > '9' {
			return bad
		}
	}
	n, err := strconv.ParseInt(whole+fraction+strings.Repeat("0", 6-len(fraction)), 10, 64)
	if err != nil || n > int64(100*PercentUnit) {
		return bad
	}
	*p = Percent(n)
	return nil
}

// String writes the shortest decimal form.
func (p Percent) String() string {
	s := fmt.Sprintf("%d.%06d", p/PercentUnit, p%PercentUnit)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// Target is a hash target, 32 bytes big-endian (display order). The zero value
// means that none is set.
type Target [32]byte

// UnmarshalText reads 64 hex digits.
func (t *Target) UnmarshalText(text []byte) error {
	var b Target
	if len(text) != 64 {
		return fmt.Errorf("a target is 64 hex digits, this has %d characters", len(text))
	}
	if _, err := hex.Decode(b[:], text); err != nil {
		return errors.New("a target is 64 hex digits, this has others")
	}
	if b == (Target{}) {
		return errors.New("a target of zero can be met by no share")
	}
	*t = b
	return nil
}

// String writes 64 hex digits, or nothing where no target is set.
func (t Target) String() string {
	if t == (Target{}) {
		return ""
	}
	return hex.EncodeToString(t[:])
}

// Path is a file or folder. A relative one starts at the folder of the
// configuration file, or at the working folder where there is no file.
type Path string

// Secret is a value that never shows up in a log or a dump.
type Secret struct {
	value string
	// file is where the value comes from, empty where it was given directly.
	file Path
}

// Value returns the secret itself.
func (s Secret) Value() string { return s.value }

// IsSet reports whether the secret is given, be it directly or as a file that
// was not read because the role has no business with it.
func (s Secret) IsSet() bool { return s.value != "" || s.file != "" }

// NewSecret wraps a value.
func NewSecret(value string) Secret { return Secret{value: value} }

// String hides the value.
func (s Secret) String() string {
	if !s.IsSet() {
		return ""
	}
	return "[secret]"
}

// GoString hides the value from %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue hides the value from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the value from every encoder.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
