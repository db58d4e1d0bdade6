package job_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"purepool/pool/job"
)

// What a frontend sends is read as it was meant or refused, whatever it is.
func FuzzDecodeShares(f *testing.F) {
	c, err := job.NewCodec()
	if err != nil {
		f.Fatal(err)
	}
	one := job.Share{Job: 7, Found: job.Found{Extranonce2Size: 4, Nonce: 1}, Target: 0x1d00ffff, Worker: 3, ReceivedAt: 1, RemoteIP: netip.MustParseAddr("192.0.2.1")}
	two := one
	two.Found.Target, two.Found.VersionBits, two.Stale, two.Worker, two.RemoteIP = 0x1d00ffff, 1<<13, true, -1, netip.MustParseAddr("2001:db8::1")
	for _, shares := range [][]job.Share{nil, {one}, {one, two}} {
		b, err := c.EncodeShares(shares)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		shares, err := c.DecodeShares(b)
		if err != nil {
			if !errors.Is(err, job.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		again, err := c.EncodeShares(shares)
		if err != nil {
			t.Fatal(err)
		}
		back, err := c.DecodeShares(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(shares, back, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Fatal(diff)
		}
	})
}
