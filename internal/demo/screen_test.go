package demo

import (
	"slices"
	"testing"
)

func TestHashRatesHaveUnits(t *testing.T) {
	for rate, want := range map[int64]string{
		0: "0 H/s", 999: "999 H/s", 1000: "1.0 kH/s", 1999: "1.9 kH/s", 9999: "9.9 kH/s", 12_345: "12.3 kH/s", 999_999: "999.9 kH/s",
		1_000_000: "1.0 MH/s", 5_500_000_000: "5.5 GH/s", 1<<63 - 1: "9.2 EH/s",
	} {
		if got := hashRate(rate); got != want {
			t.Errorf("%d is written %q, want %q", rate, got, want)
		}
	}
}

func TestMostFrequentReasonsComeFirst(t *testing.T) {
	got := byCount(map[string]int64{"b": 2, "a": 2, "c": 9, "d": 1}, 3)
	if want := []string{"c", "a", "b"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
