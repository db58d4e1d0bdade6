package pow_test

import (
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"purepool/pool/pow"
)

const someTarget = "00000fffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"

func mustTarget(t testing.TB, text string) pow.Target {
	t.Helper()
	target, err := pow.ParseTarget(text)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// padded returns a target whose first digits are given and whose rest is zero.
func padded(t testing.TB, digits string) pow.Target {
	t.Helper()
	return mustTarget(t, digits+strings.Repeat("0", 64-len(digits)))
}

func TestTargetsAreReadInEitherCaseAndNothingElse(t *testing.T) {
	if got := mustTarget(t, strings.ToUpper(someTarget)).String(); got != someTarget {
		t.Error(got)
	}
	for bad, kind := range map[string]pow.ErrorKind{
		"": pow.ErrLength, someTarget[1:]: pow.ErrLength, someTarget + "0": pow.ErrLength, "0x" + someTarget: pow.ErrLength,
		"0x" + someTarget[2:]: pow.ErrHex, " " + someTarget[1:]: pow.ErrHex, "+" + someTarget[1:]: pow.ErrHex,
		someTarget[:63] + "\x00": pow.ErrHex, someTarget[:62] + "é": pow.ErrHex, someTarget[:63] + "g": pow.ErrHex,
	} {
		if target, err := pow.ParseTarget(bad); !errors.Is(err, kind) || target != (pow.Target{}) {
			t.Errorf("%q: %s, %v", bad, target, err)
		}
		if _, err := pow.ParseNumber([]byte(bad)); !errors.Is(err, kind) {
			t.Errorf("%q as bytes: %v", bad, err)
		}
	}
}

func TestAProofMustBeStrictlyBelowItsTarget(t *testing.T) {
	target := padded(t, "0001")
	below := mustTarget(t, "0000"+strings.Repeat("f", 60))
	above := target
	above[31] = 1
	if !target.MetBy(below) || target.MetBy(target) || target.MetBy(above) {
		t.Error("the bound is wrong")
	}
	if (pow.Target{}).MetBy([32]byte{}) {
		t.Error("a target of zero is met")
	}
	rapid.Check(t, func(t *rapid.T) {
		a := pow.Target(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "target"))
		b := [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "proof"))
		if a.MetBy(b) != (new(big.Int).SetBytes(b[:]).Cmp(new(big.Int).SetBytes(a[:])) < 0) {
			t.Fatalf("%s met by %x: %t", a, b, a.MetBy(b))
		}
	})
}

func TestWeightIsTheExpectedNumberOfHashes(t *testing.T) {
	for text, want := range map[string]int64{
		strings.Repeat("f", 64):                                 1,
		"8" + strings.Repeat("0", 63):                           1, // 2^256/(2^255+1) is a little below 2
		"7" + strings.Repeat("f", 63):                           2,
		"0000" + strings.Repeat("f", 60):                        1 << 16,
		someTarget:                                              1 << 20,
		"00000000ffff" + strings.Repeat("0", 52):                4_295_032_833, // difficulty 1 of Bitcoin
		"0000011110" + strings.Repeat("0", 54):                  15728880,      // of the recorded exchanges
		strings.Repeat("0", 16) + "2" + strings.Repeat("0", 47): 1<<63 - 1,     // 2^63 and more are capped
		strings.Repeat("0", 64):                                 math.MaxInt64,
	} {
		target := mustTarget(t, text)
		if got := target.Weight(); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
	all := new(big.Int).Lsh(big.NewInt(1), 256)
	if got := (pow.Target{}).ExpectedHashes(); got.Cmp(all) != 0 {
		t.Errorf("a target of zero takes %s hashes", got)
	}
}

func TestAnEasierTargetNeverWeighsMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := pow.Target(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "a"))
		b := pow.Target(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "b"))
		if a.MetBy(b) && a.Weight() > b.Weight() || a.Weight() < 1 {
			t.Fatalf("%s weighs %d, %s weighs %d", a, a.Weight(), b, b.Weight())
		}
	})
}

// The vectors of Bitcoin's arith_uint256_tests.cpp (bignum_SetCompact).
func TestCompactTargetsAsInBitcoin(t *testing.T) {
	for _, c := range []struct {
		bits    uint32
		digits  string // without leading zeros
		compact uint32
	}{
		{0x01123456, "12", 0x01120000},
		{0x02123456, "1234", 0x02123400},
		{0x03123456, "123456", 0x03123456},
		{0x04123456, "12345600", 0x04123456},
		{0x05009234, "92340000", 0x05009234},
		{0x20123456, "1234560000000000000000000000000000000000000000000000000000000000", 0x20123456},
		{0x1d00ffff, "ffff0000000000000000000000000000000000000000000000000000", 0x1d00ffff},
		{0x1d08aaa5, "8aaa50000000000000000000000000000000000000000000000000000", 0x1d08aaa5},
		{0x207fffff, "7fffff0000000000000000000000000000000000000000000000000000000000", 0x207fffff},
		{0x2100ffff, "ffff000000000000000000000000000000000000000000000000000000000000", 0x2100ffff},
		{0x220000ff, "ff00000000000000000000000000000000000000000000000000000000000000", 0x2100ff00},
	} {
		target, err := pow.TargetFromCompact(c.bits)
		if err != nil || strings.TrimLeft(target.String(), "0") != c.digits {
			t.Errorf("%#08x = %s, %v; want …%s", c.bits, target, err, c.digits)
			continue
		}
		if got := target.Compact(); got != c.compact {
			t.Errorf("%s = %#08x, want %#08x", target, got, c.compact)
		}
	}
	for bits, kind := range map[uint32]pow.ErrorKind{
		0: pow.ErrCompactZero, 0x00123456: pow.ErrCompactZero, 0x01003456: pow.ErrCompactZero, 0x02000056: pow.ErrCompactZero,
		0x04000000: pow.ErrCompactZero, 0x00923456: pow.ErrCompactZero, 0x01803456: pow.ErrCompactZero, 0xff000000: pow.ErrCompactZero,
		0x01fedcba: pow.ErrCompactNegative, 0x04923456: pow.ErrCompactNegative, 0x1d80ffff: pow.ErrCompactNegative,
		0xff123456: pow.ErrCompactOverflow, 0x21123456: pow.ErrCompactOverflow, 0x2200ffff: pow.ErrCompactOverflow, 0x23000001: pow.ErrCompactOverflow,
	} {
		if target, err := pow.TargetFromCompact(bits); !errors.Is(err, kind) || target != (pow.Target{}) {
			t.Errorf("%#08x = %s, %v; want %s", bits, target, err, string(kind))
		}
	}
	if got := (pow.Target{}).Compact(); got != 0 {
		t.Errorf("zero = %#08x", got)
	}
}

func FuzzTarget(f *testing.F) {
	for _, bits := range []uint32{0, 0x1d00ffff, 0x207fffff, 0x220000ff, 0x04923456, 0x01fedcba} {
		f.Add(bits, someTarget)
	}
	f.Add(uint32(0x1d08aaa5), strings.ToUpper(someTarget))
	f.Add(uint32(1), "0x")
	f.Fuzz(func(t *testing.T, bits uint32, text string) {
		if target, err := pow.TargetFromCompact(bits); err == nil {
			again, err := pow.TargetFromCompact(target.Compact())
			if err != nil || again != target {
				t.Fatalf("%#08x = %s = %#08x = %s, %v", bits, target, target.Compact(), again, err)
			}
		}
		target, err := pow.ParseTarget(text)
		if err != nil {
			return
		}
		if !strings.EqualFold(target.String(), text) {
			t.Fatalf("%q = %s", text, target)
		}
		if target.Weight() < 1 {
			t.Fatalf("%s weighs %d", target, target.Weight())
		}
		if target == (pow.Target{}) {
			return
		}
		if rounded, err := pow.TargetFromCompact(target.Compact()); err != nil || target.MetBy(rounded) == (target == rounded) {
			t.Fatalf("%s rounds to %s, %v", target, rounded, err)
		}
	})
}

func BenchmarkWeight(b *testing.B) {
	b.ReportAllocs()
	target := mustTarget(b, someTarget)
	for b.Loop() {
		target.Weight()
	}
}
