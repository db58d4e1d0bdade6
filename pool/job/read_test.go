package job

import (
	"net/netip"
	"slices"
	"testing"
)

// written are lists of shares as they travel.
func written(t testing.TB, c *Codec) (texts [][]byte) {
	t.Helper()
	one := Share{Job: 7, Found: Found{Extranonce2Size: 4, Nonce: 1}, Target: 0x1d00ffff, Worker: 3, ReceivedAt: 1, RemoteIP: netip.MustParseAddr("192.0.2.1")}
	two := one
	two.Found.Target, two.Found.VersionBits, two.Stale, two.Worker, two.RemoteIP = 0x1d00ffff, 1<<13, true, -1, netip.MustParseAddr("fe80::1%eth0")
	three := Share{Job: 1<<64 - 1, Worker: -1 << 63, ReceivedAt: 1<<63 - 1}
	for _, shares := range [][]Share{nil, {one}, {two}, {one, two, three}, slices.Repeat([]Share{one}, 300)} {
		b, err := c.EncodeShares(shares)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, b[1:])
	}
	return texts
}

// agrees fails where what is read by hand is not what the library reads.
func agrees(t *testing.T, c *Codec, b []byte) (byHand bool) {
	t.Helper()
	got, ok := readShares(b)
	if !ok {
		return false
	}
	var want []Share
	if err := c.dec.Unmarshal(b, &want); err != nil {
		t.Fatalf("%x is read by hand and not by the library: %v", b, err)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%x is\n%+v by hand and\n%+v by the library", b, got, want)
	}
	return true
}

func TestSharesAreReadByHandAsTheLibraryReadsThem(t *testing.T) {
	c, err := NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range written(t, c) {
		if !agrees(t, c, b) {
			t.Errorf("%x was written here and is not read by hand", b)
		}
		if len(b) > 1000 {
			continue
		}
		for n := range b {
			if agrees(t, c, b[:n]) {
				t.Errorf("the first %d bytes of %x are taken for all", n, b)
			}
			for _, other := range []byte{0, b[n] + 1, b[n] - 1, b[n] ^ 0x20, 0xff} {
				changed := slices.Clone(b)
				changed[n] = other
				agrees(t, c, changed)
			}
		}
		if agrees(t, c, append(slices.Clone(b), 0)) {
			t.Errorf("a byte behind %x is overlooked", b)
		}
	}
}

// A number that is written longer than it need be, fields in another order, and
// fields that are not known are left to the library.
func TestOtherFormsAreLeftToTheLibrary(t *testing.T) {
	c, err := NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	type newer struct {
		Share
		More string `cbor:"9,keyasint"`
	}
	b, err := c.encode([]newer{{Share{Job: 7, Worker: 3}, "of a newer frontend"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := readShares(b[1:]); ok {
		t.Error("a newer frontend's share was read by hand")
	}
	shares, err := c.DecodeShares(b)
	if err != nil || len(shares) != 1 || shares[0].Job != 7 || shares[0].Worker != 3 {
		t.Errorf("%+v, %v", shares, err)
	}
}

func FuzzReadShares(f *testing.F) {
	c, err := NewCodec()
	if err != nil {
		f.Fatal(err)
	}
	for _, b := range written(f, c) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { agrees(t, c, b) })
}

func BenchmarkDecodeShares(b *testing.B) {
	c, err := NewCodec()
	if err != nil {
		b.Fatal(err)
	}
	texts := written(b, c)
	text := texts[len(texts)-1]
	b.Run("by-hand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := readShares(text); !ok {
				b.Fatal("not read")
			}
		}
	})
	b.Run("library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var shares []Share
			if err := c.dec.Unmarshal(text, &shares); err != nil {
				b.Fatal(err)
			}
		}
	})
}
