package solution

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

// recorded returns the fields of the real solution of the 2018 test net.
func recorded(t testing.TB) []string {
	t.Helper()
	raw, err := os.ReadFile("testdata/testnet-solution-2018.json")
	if err != nil {
		t.Fatal(err)
	}
	var r struct{ Solution string }
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	return strings.Split(r.Solution, ",")
}

func TestRealSolutionIsRead(t *testing.T) {
	f := recorded(t)
	s, err := Parse([]byte(strings.Join(f, ",")))
	if err != nil {
		t.Fatal(err)
	}
	if s.BlockTime != 1518041523 || s.PrevBlockTime != 1518041437 || s.PrevHeight != 19309 || s.Nonce != 14217 {
		t.Errorf("numbers: %+v", s)
	}
	if s.MinerID.String() != f[5] || s.WorkID.String() != f[6] || string(s.WorkIDText) != f[6] {
		t.Errorf("ids: %v %v", s.MinerID, s.WorkID)
	}
	if string(s.BlockHex) != f[14] || string(s.TransHex) != f[15] {
		t.Error("hex fields differ")
	}
	if want := int64(1000*1769512) / (1518041527556 - 1518037739857); s.HashesPerSecond() != want {
		t.Errorf("hash rate %d, want %d", s.HashesPerSecond(), want)
	}
	if s.BibleHash[3] != 0x0e || s.BlockHash[0] != 0x4a {
		t.Error("hashes are not big-endian")
	}
}

func TestMalformedFieldIsNamed(t *testing.T) {
	cases := []struct {
		name  string
		field int
		value string
	}{
		{"hash short", 0, "ab"},
		{"hash not hex", 4, strings.Repeat("g", 64)},
		{"hash long", 4, strings.Repeat("0", 66)},
		{"time empty", 1, ""},
		{"time huge", 1, "9999999999"},
		{"previous time text", 2, "now"},
		{"height negative", 3, "-1"},
		{"height beyond 31 bits", 3, "2147483647"},
		{"miner no uuid", 5, "not-a-uuid"},
		{"miner uuid in braces", 5, "{eef5cbcb-f673-4203-a791-f773b177f1}"},
		{"work no uuid", 6, "b0181b3a98684139bef58c7e5d4239f4"},
		{"nonce negative", 13, "-5"},
		{"nonce with blanks", 13, " 14217 "},
		{"nonce with underscore", 13, "1_0"},
		{"nonce in other digits", 13, "١٢"},
		{"nonce signed", 13, "+5"},
		{"nonce 33 bits", 13, "4294967296"},
		{"nonce long", 13, "00000000001"},
		{"block empty", 14, ""},
		{"block odd", 14, "abc"},
		{"block not ascii", 14, "b\xc3\xa9"},
		{"transaction not hex", 15, "zz"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := recorded(t)
			f[c.field] = c.value
			_, err := Parse([]byte(strings.Join(f, ",")))
			var e *Error
			if !errors.As(err, &e) || e.Field != c.field {
				t.Fatalf("error %v, want one of field %d", err, c.field)
			}
		})
	}
}

func TestTooFewFieldsAreRefused(t *testing.T) {
	for _, text := range []string{"", "abc", strings.Repeat(",", 14), strings.Join(recorded(t)[:15], ",")} {
		var e *Error
		if _, err := Parse([]byte(text)); !errors.As(err, &e) || e.Field != -1 {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

func TestFurtherFieldsAreIgnored(t *testing.T) {
	f := append(recorded(t), "extra16", "extra17")
	s, err := Parse([]byte(strings.Join(f, ",")))
	if err != nil || string(s.TransHex) != f[15] {
		t.Fatalf("%v", err)
	}
}

// The original lost shares to a division by zero and to counters too large for
// its column (hazard V10).
func TestBadStatisticsNeverCostAShare(t *testing.T) {
	cases := []struct {
		counter, start, end string
		want                int64
	}{
		{"100", "1000", "1000", 0},
		{"100", "2000", "1000", 0},
		{"999999999999999999", "0", "1", 0},
		{"99999999999999999999999", "0", "1000", 0},
		{"-5", "0", "1000", 0},
		{"", "", "", 0},
		{"x", "\xff", "1e9", 0},
		{"5000", "-9223372036854775808", "9223372036854775807", 0},
		{"5000", "1000", "3500", 2000},
	}
	for _, c := range cases {
		f := recorded(t)
		f[10], f[11], f[12] = c.counter, c.start, c.end
		s, err := Parse([]byte(strings.Join(f, ",")))
		if err != nil {
			t.Errorf("%v: %v", c, err)
			continue
		}
		if got := s.HashesPerSecond(); got != c.want {
			t.Errorf("%v: hash rate %d", c, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	real := recorded(f)
	f.Add([]byte(strings.Join(real, ",")))
	f.Add([]byte(strings.Repeat(",", 15)))
	f.Add([]byte(""))
	f.Add([]byte(strings.Join(real[:14], ",") + ",B10C,7c,extra"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse(text)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Error() == "" {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if s.HashesPerSecond() < 0 || len(s.BlockHex)%2 != 0 || len(s.ThreadID) > MaxStatText || s.PrevHeight < 0 {
			t.Fatalf("accepted: %+v", s)
		}
		again, err := Parse(text)
		if err != nil || again.BibleHash != s.BibleHash || again.WorkID != s.WorkID {
			t.Fatal("not the same twice")
		}
	})
}

func BenchmarkParse(b *testing.B) {
	text := []byte(strings.Join(recorded(b), ","))
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
