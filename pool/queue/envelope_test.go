package queue

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

func mustCodec(t testing.TB) *codec {
	t.Helper()
	c, err := newCodec()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// shareCmp compares shares as the queue promises them: an empty solution is as
// good as none.
func shareCmp() cmp.Options {
	return cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmpopts.EquateEmpty(),
	}
}

func drawShare(t *rapid.T, i int) Share {
	s := Share{
		// All of the years 0 to 9999 fit.
		ReceivedAt: time.UnixMicro(rapid.Int64Range(-62_167_219_200_000_000, 253_402_300_799_000_000).Draw(t, "at")).UTC(),
		Frontend:   rapid.String().Draw(t, "frontend"),
		Solution:   rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(t, "solution"),
		Template:   rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "template"),
		Refusal:    rapid.String().Draw(t, "refusal"),
	}
	for _, id := range []*uuid.UUID{&s.ID, &s.WorkID, &s.MinerID} {
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid"))
	}
	if n := rapid.SampledFrom([]int{0, 4, 16}).Draw(t, "ip"); n > 0 {
		s.RemoteIP, _ = netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "address"))
	}
	return s
}

func TestEnvelopeGivesBackWhatWasPutIn(t *testing.T) {
	c := mustCodec(t)
	rapid.Check(t, func(t *rapid.T) {
		want := make([]Share, rapid.IntRange(0, 8).Draw(t, "n"))
		for i := range want {
			want[i] = drawShare(t, i)
		}
		data, err := c.encodeEnvelope(want...)
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := countShares(data); !ok || n != len(want) {
			t.Fatalf("head says %d, %v", n, ok)
		}
		got, err := c.decodeEnvelope(data)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, shareCmp()); d != "" {
			t.Fatal(d)
		}
	})
}

func TestEnvelopeIsPlainCBOR(t *testing.T) {
	data, err := mustCodec(t).encodeEnvelope(Share{Frontend: "f1"}, Share{Refusal: "no"})
	if err != nil {
		t.Fatal(err)
	}
	var v []any
	if err := cbor.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if len(v) != 2 || v[0] != uint64(1) || len(v[1].([]any)) != 2 {
		t.Fatalf("got %v", v)
	}
}

func TestEnvelopeCutsTimesToMicrosecondsAndUTC(t *testing.T) {
	c := mustCodec(t)
	at := time.Date(2018, 3, 9, 12, 0, 0, 123456789, time.FixedZone("", 3600))
	data, err := c.encodeEnvelope(Share{ReceivedAt: at})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.decodeEnvelope(data)
	if err != nil {
		t.Fatal(err)
	}
	want := time.Date(2018, 3, 9, 11, 0, 0, 123456000, time.UTC)
	if at := got[0].ReceivedAt; at != want {
		t.Fatalf("got %v, want %v", at, want)
	}
}

func TestEnvelopeOfANewerVersionIsToldApart(t *testing.T) {
	c := mustCodec(t)
	for name, v := range map[string]any{
		"more elements":  []any{uint64(2), []any{}, "and more"},
		"other elements": []any{uint64(900), "something else"},
	} {
		data, err := cbor.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.decodeEnvelope(data); !errors.Is(err, ErrEnvelopeVersion) || errors.Is(err, ErrEnvelope) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestDamagedEnvelopesAreRefused(t *testing.T) {
	c := mustCodec(t)
	good, err := c.encodeEnvelope(Share{Solution: []byte("a,b"), RemoteIP: netip.MustParseAddr("192.0.2.1")})
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string][]byte{
		"empty":         nil,
		"text":          []byte("hello"),
		"truncated":     good[:len(good)-1],
		"trailing":      append(bytes.Clone(good), 0),
		"version zero":  append([]byte{0x82, 0x00}, good[2:]...),
		"three":         append([]byte{0x83, 0x01}, append(bytes.Clone(good[2:]), 0)...),
		"huge count":    {0x82, 0x01, 0x99, 0xff, 0xff},
		"bomb":          {0x82, 0x01, 0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"indefinite":    {0x82, 0x01, 0x9f, 0xff},
		"nested":        append([]byte{0x82, 0x01}, bytes.Repeat([]byte{0x81}, 1000)...),
		"unknown field": {0x82, 0x01, 0x81, 0xa1, 0x18, 0x63, 0x01},
		"repeated key":  {0x82, 0x01, 0x81, 0xa2, 0x02, 0x01, 0x02, 0x01},
		"odd address":   {0x82, 0x01, 0x81, 0xa1, 0x04, 0x43, 1, 2, 3},
		"too large":     make([]byte, MaxEnvelopeBytes+1),
	}
	for name, data := range cases {
		if _, err := c.decodeEnvelope(data); !errors.Is(err, ErrEnvelope) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestTheLargestShareFitsItsEnvelope(t *testing.T) {
	c := mustCodec(t)
	data, err := c.encodeEnvelope(Share{Solution: make([]byte, 8<<20), Refusal: string(make([]byte, 1000))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.decodeEnvelope(data); err != nil {
		t.Fatal(err)
	}
	if _, err := c.encodeEnvelope(Share{Solution: make([]byte, MaxShareBytes)}); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("got %v", err)
	}
}

func TestInvalidTextDoesNotSpoilAnEnvelope(t *testing.T) {
	c := mustCodec(t)
	data, err := c.encodeEnvelope(Share{Refusal: "a\xffb"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.decodeEnvelope(data)
	if err != nil || got[0].Refusal != "a�b" {
		t.Fatalf("got %q, %v", got[0].Refusal, err)
	}
}

func TestEncodingAShareDoesNotAllocate(t *testing.T) {
	c := mustCodec(t)
	s := Share{ID: uuid.New(), Frontend: "f1", RemoteIP: netip.MustParseAddr("192.0.2.1"), Solution: make([]byte, 3438), ReceivedAt: time.Now()}
	n := testing.AllocsPerRun(200, func() {
		b, err := c.encodeShare(&s)
		if err != nil {
			t.Fatal(err)
		}
		c.release(b)
	})
	if n > 1 {
		t.Fatalf("%v allocations a share", n)
	}
}

func FuzzEnvelope(f *testing.F) {
	c := mustCodec(f)
	for _, shares := range [][]Share{
		nil,
		{{}},
		{{Solution: []byte("a,b,c"), Frontend: "f1", RemoteIP: netip.MustParseAddr("2001:db8::1")}, {Refusal: "no"}},
	} {
		data, err := c.encodeEnvelope(shares...)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte{0x82, 0x02, 0x01})
	f.Fuzz(func(t *testing.T, data []byte) {
		shares, err := c.decodeEnvelope(data)
		if err != nil {
			if errors.Is(err, ErrEnvelope) == errors.Is(err, ErrEnvelopeVersion) {
				t.Fatalf("an error of no kind, or of two: %v", err)
			}
			return
		}
		again, err := c.encodeEnvelope(shares...)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.decodeEnvelope(again)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(shares, got, shareCmp()); d != "" {
			t.Fatal(d)
		}
	})
}

func BenchmarkEncodeShare(b *testing.B) {
	c := mustCodec(b)
	s := Share{ID: uuid.New(), Frontend: "f1", RemoteIP: netip.MustParseAddr("192.0.2.1"), Solution: make([]byte, 3438), ReceivedAt: time.Now()}
	b.ReportAllocs()
	b.SetBytes(3438)
	for b.Loop() {
		buf, err := c.encodeShare(&s)
		if err != nil {
			b.Fatal(err)
		}
		c.release(buf)
	}
}
