package config

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSizesHaveUnits(t *testing.T) {
	for text, want := range map[string]Bytes{
		"0": 0, "1": 1, "17B": 17, "8MiB": 8 << 20, "8 MiB": 8 << 20, "3kB": 3000, "2GB": 2e9, "1TiB": 1 << 40, "5TB": 5e12, "7KiB": 7 << 10, "1GiB": 1 << 30, "4MB": 4e6,
	} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || b != want {
			t.Errorf("%q = %d, %v, want %d", text, b, err, want)
		}
	}
	for _, text := range []string{"", "-1", "MiB", "1.5MiB", "8mib", "8M", "9999999999GiB", "1e3", "0x10", "8MiBMiB", "１"} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken as %d", text, b)
		}
	}
}

func TestDurationsHaveUnits(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"14d": 14 * 24 * time.Hour, "0s": 0, "1h30m": 90 * time.Minute, "250ms": 250 * time.Millisecond,
	} {
		d, err := parseDuration(text)
		if err != nil || d != want || formatDuration(d) != text {
			t.Errorf("%q = %v (%s), %v", text, d, formatDuration(d), err)
		}
	}
	for _, text := range []string{"", "30", "-1s", "-3d", "1.5d", "99999999d", "d", "1 s", "forever"} {
		if d, err := parseDuration(text); err == nil {
			t.Errorf("%q was taken as %v", text, d)
		}
	}
}

func TestPercentagesAreExact(t *testing.T) {
	for text, want := range map[string]Percent{"0": 0, "2.5": 2_500_000, "100": 100_000_000, "0.000001": 1, "33.333333": 33_333_333, "007": 7_000_000, "100.000000": 100_000_000} {
		var p Percent
		if err := p.UnmarshalText([]byte(text)); err != nil || p != want {
			t.Errorf("%q = %d, %v, want %d", text, p, err, want)
		}
	}
	for _, text := range []string{"", ".5", "1.", "100.000001", "101", "-1", "1e1", "2,5", "2.5%", "0.0000001", "1.-5", "+1", " 1"} {
		var p Percent
		if err := p.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken as %v", text, p)
		}
	}
}

func TestValuesAreReadAsTheyAreWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := Bytes(rapid.Int64Range(0, math.MaxInt64).Draw(t, "bytes"))
		var b2 Bytes
		if err := b2.UnmarshalText([]byte(b.String())); err != nil || b2 != b {
			t.Fatalf("size %d is written %s and read %d, %v", b, b, b2, err)
		}
		p := Percent(rapid.Int64Range(0, int64(100*PercentUnit)).Draw(t, "percent"))
		var p2 Percent
		if err := p2.UnmarshalText([]byte(p.String())); err != nil || p2 != p {
			t.Fatalf("percentage %d is written %s and read %d, %v", p, p, p2, err)
		}
		d := time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "duration"))
		d2, err := parseDuration(formatDuration(d))
		if err != nil || d2 != d {
			t.Fatalf("duration %d is written %s and read %d, %v", d, formatDuration(d), d2, err)
		}
	})
}

func TestNearestNameIsSuggested(t *testing.T) {
	known := []string{"listen", "max_connections", "tls", "id"}
	for name, want := range map[string]string{
		"lisen": "listen", "litsen": "listen", "max-connections": "max_connections", "LISTEN": "listen", "maxconnections": "max_connections", "tsl": "tls",
		"completely_else": "", "": "", "x": "",
	} {
		got := didYouMean(name, known)
		if want != "" {
			want = `, did you mean "` + want + `"?`
		}
		if got != want {
			t.Errorf("%q: suggested %q, want %q", name, got, want)
		}
	}
}
