package job_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"

	"purepool/pool/chain"
	"purepool/pool/job"
)

// drawShare makes any share that there can be.
func drawShare(t *rapid.T) (s job.Share) {
	number := rapid.OneOf(rapid.Uint32Range(0, 300), rapid.Uint32())
	copy(s.Found.Extranonce1[:], rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "extranonce1"))
	copy(s.Found.Extranonce2[:], rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "extranonce2"))
	s.Found.Extranonce2Size = rapid.Uint8Range(0, 8).Draw(t, "size")
	s.Found.Time, s.Found.Nonce = number.Draw(t, "time"), number.Draw(t, "nonce")
	s.Found.VersionBits, s.Found.Target = number.Draw(t, "version"), job.Bits(number.Draw(t, "bound"))
	s.Job = rapid.OneOf(rapid.Uint64Range(0, 70_000), rapid.Uint64()).Draw(t, "job")
	s.Target = job.Bits(number.Draw(t, "target"))
	s.Worker = rapid.OneOf(rapid.Int64Range(-300, 300), rapid.Int64()).Draw(t, "worker")
	s.ReceivedAt = job.Moment(rapid.Int64().Draw(t, "received"))
	s.Stale = rapid.Bool().Draw(t, "stale")
	s.RemoteIP = rapid.SampledFrom([]netip.Addr{
		{},
		netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fe80::1%eth0"),
		netip.MustParseAddr("::ffff:192.0.2.1"),
	}).Draw(t, "address")
	copy(s.Proof[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "proof"))
	return s
}

func TestSharesAreWrittenAsTheLibraryWritesThem(t *testing.T) {
	library, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	codec, err := job.NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		shares := rapid.SliceOfN(rapid.Custom(drawShare), 0, 30).Draw(t, "shares")
		want, err := library.Marshal(shares)
		if err != nil {
			t.Fatal(err)
		}
		if shares == nil {
			want = []byte{0x80} // no shares are an empty list
		}
		got, err := codec.EncodeShares(shares)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got[1:], want) {
			t.Fatalf("wrote  %x\nwanted %x", got[1:], want)
		}
		back, err := codec.DecodeShares(got)
		if err != nil || len(back) != len(shares) {
			t.Fatalf("%d of %d shares come back: %v", len(back), len(shares), err)
		}
	})
}

// An assembler that remembers gives what one that knows nothing yet gives.
func TestHeaderDoesNotDependOnWhatWasAssembledBefore(t *testing.T) {
	jobs := []*job.Job{
		{Algorithm: "sha256d", Coinbase1: []byte("one"), Coinbase2: []byte("end"), Branches: []chain.Hash{{1}, {2}}},
		{Algorithm: "sha256d", Coinbase1: []byte("one"), Coinbase2: []byte("end"), BindsTarget: true},
	}
	rapid.Check(t, func(t *rapid.T) {
		var old job.Assembler
		for range 40 {
			j := jobs[rapid.IntRange(0, 1).Draw(t, "job")]
			f := job.Found{
				Extranonce1: job.Extranonce1{7: rapid.Uint8Range(0, 1).Draw(t, "extranonce1")}, Extranonce2Size: rapid.Uint8Range(4, 5).Draw(t, "size"),
				Extranonce2: [8]byte{3: rapid.Uint8Range(0, 1).Draw(t, "extranonce2")}, Target: job.Bits(rapid.Uint32Range(0, 1).Draw(t, "target")),
				Nonce: rapid.Uint32Range(0, 1).Draw(t, "nonce"), Time: rapid.Uint32Range(0, 1).Draw(t, "time"),
			}
			var fresh job.Assembler
			if got, want := old.Header(j, &f), fresh.Header(j, &f); !bytes.Equal(got, want) {
				t.Fatalf("%x, afresh %x", got, want)
			}
		}
	})
}
