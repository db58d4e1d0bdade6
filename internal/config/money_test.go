package config

import (
	"testing"
	"time"
)

func TestCoinsAreExactOrRefused(t *testing.T) {
	for text, want := range map[string]Coins{
		"10": 1_000_000_000, "0.5": 50_000_000, "0.00000001": 1, "92233720368.54775807": 1<<63 - 1, "007": 700_000_000, "0": 0,
	} {
		var c Coins
		if err := c.UnmarshalText([]byte(text)); err != nil || c != want {
			t.Errorf("%q is %d (%v), want %d", text, int64(c), err, int64(want))
		}
		var again Coins
		if err := again.UnmarshalText([]byte(c.String())); err != nil || again != c {
			t.Errorf("%q is written %q, which is %d (%v)", text, c, int64(again), err)
		}
	}
	for _, text := range []string{"", "-1", "+1", "1.", ".5", "1e3", "0.000000001", "92233720368.54775808", "1 000", "1,5", "x", "١"} {
		var c Coins
		if err := c.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken for %d satoshis", text, int64(c))
		}
	}
}

func TestFactorsAreInThousandths(t *testing.T) {
	for text, want := range map[string]Factor{"2": 2000, "1.5": 1500, "0.001": 1} {
		var f Factor
		if err := f.UnmarshalText([]byte(text)); err != nil || f != want || f.String() != text {
			t.Errorf("%q is %d (%v), written %q, want %d", text, int64(f), err, f, int64(want))
		}
	}
	var f Factor
	if f.UnmarshalText([]byte("1.0001")) == nil {
		t.Error("a fourth decimal was taken")
	}
}

func TestTimesOfDayAreHoursAndMinutes(t *testing.T) {
	for text, want := range map[string]time.Duration{"00:00": 0, "18:00": 18 * time.Hour, "23:59": 23*time.Hour + 59*time.Minute, "24:00": 24 * time.Hour} {
		var d DayTime
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want || d.String() != text {
			t.Errorf("%q is %v (%v), written %q, want %v", text, time.Duration(d), err, d, want)
		}
	}
	for _, text := range []string{"", "8:00", "24:01", "12:60", "12", "12:00:00", "-1:00", "1x:00"} {
		var d DayTime
		if d.UnmarshalText([]byte(text)) == nil {
			t.Errorf("%q was taken for %v", text, time.Duration(d))
		}
	}
}
