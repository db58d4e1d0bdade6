package bbprpc_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"purepool/bbprpc"
)

func TestAmountsAreReadExactly(t *testing.T) {
	for text, want := range map[string]bbprpc.Amount{
		`0`:                       0,
		`-0`:                      0,
		`0e99`:                    0,
		`0.00000001`:              1,
		`1e-8`:                    1,
		`1E-08`:                   1,
		`5492`:                    549_200_000_000,
		`"5492"`:                  549_200_000_000,
		`0.1`:                     10_000_000,
		`0.29`:                    29_000_000, // 28999999.999… in binary
		`16235.85745354`:          1_623_585_745_354,
		`1.62358574e+4`:           1_623_585_740_000,
		`-0.07`:                   -7_000_000,
		`1.000000000`:             100_000_000, // nine decimals, the last of them nothing
		`92233720368.54775807`:    math.MaxInt64,
		`-92233720368.54775808`:   math.MinInt64,
		`9223372036854775807e-8`:  math.MaxInt64,
		`922337203685477580.7e-7`: math.MaxInt64,
	} {
		var got bbprpc.Amount
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s = %d, %v; want %d", text, int64(got), err, int64(want))
		}
	}
}

func TestAmountsThatCannotBeExactAreRefused(t *testing.T) {
	for _, text := range []string{
		`0.000000001`, `1e-9`, `1.123456789`, `92233720368.54775808`, `-92233720368.54775809`, `1e11`, `1e99`, `1e999999999`,
		`null`, `true`, `""`, `"abc"`, `"1,5"`, `" 1"`, `"0x10"`, `"1_0"`, `"+1"`, `".5"`, `"5."`, `"01"`, `"1e"`, `"--1"`, `"1e+-5"`,
		`"Infinity"`, `"NaN"`, `[]`, `{}`, `"１"`,
	} {
		var got bbprpc.Amount
		if err := json.Unmarshal([]byte(text), &got); !errors.Is(err, bbprpc.ErrAmount) {
			t.Errorf("%s = %s, %v; want ErrAmount", text, got, err)
		}
	}
}

func TestAmountSurvivesJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := bbprpc.Amount(rapid.Int64().Draw(t, "amount"))
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got bbprpc.Amount
		if err := json.Unmarshal(text, &got); err != nil || got != want {
			t.Fatalf("%d became %s became %d, %v", int64(want), text, int64(got), err)
		}
	})
}

// FuzzAmount compares the parser with exact rational arithmetic.
func FuzzAmount(f *testing.F) {
	for _, seed := range []string{"0", "1.5", "-0.00000001", "1e-8", "12E3", "92233720368.54775807", "-92233720368.54775808", "1e11", "00", "1.e2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := bbprpc.ParseAmount(text)
		if err != nil {
			if !errors.Is(err, bbprpc.ErrAmount) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		exact, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("%q was taken as %s", text, got)
		}
		if exact.Cmp(big.NewRat(int64(got), 100_000_000)) != 0 {
			t.Fatalf("%q was taken as %s", text, got)
		}
		if !json.Valid([]byte(text)) {
			t.Fatalf("%q is no JSON number", text)
		}
	})
}
