package queue

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// What released versions wrote stands in testdata/released, a folder for each
// version that changed a format: while servers are upgraded one by one, and from
// a spool that waited, a newer program is given it. Files are added there and
// never changed.

// releasedShares are what envelope.cbor and the segment of the spool hold.
func releasedShares() []Share {
	at := time.Date(2026, 11, 22, 12, 0, 0, 123456000, time.UTC)
	id := func(n byte) uuid.UUID { return uuid.UUID{1, 2, 3, 4, 5, 6, 0x70, 8, 0x90, 10, 11, 12, 13, 14, 15, n} }
	return []Share{
		{
			ID: id(1), ReceivedAt: at, Frontend: "f1", RemoteIP: netip.MustParseAddr("192.0.2.1"),
			WorkID: id(2), MinerID: id(3), Solution: []byte("1,2,3,a solution"),
		},
		{ID: id(4), ReceivedAt: at.Add(time.Second), Frontend: "f2", RemoteIP: netip.MustParseAddr("2001:db8::1"), Refusal: "WorkExpired"},
		{ID: id(5), ReceivedAt: at.Add(2 * time.Second), Frontend: "f2", Template: []byte{1, 0x80}},
	}
}

func releasedLetter() DeadLetter {
	share := releasedShares()[0]
	return DeadLetter{
		ID: uuid.UUID{15: 9}, At: share.ReceivedAt, Network: "main", Reason: "ledger: it could not be written", Attempts: 8, Share: &share,
	}
}

func TestEnvelopesOfReleasedVersionsAreReadAndStillWritten(t *testing.T) {
	c := mustCodec(t)
	versions, err := filepath.Glob(filepath.Join("testdata", "released", "*"))
	if err != nil || len(versions) == 0 {
		t.Fatal("no released version is there", err)
	}
	for _, dir := range versions {
		read := func(name string) []byte {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		envelope := read("envelope.cbor")
		shares, err := c.decodeEnvelope(envelope)
		if err != nil {
			t.Fatalf("%s: %v", dir, err)
		}
		if d := cmp.Diff(releasedShares(), shares, shareCmp()); d != "" {
			t.Errorf("%s: %s", dir, d)
		}
		letter, err := c.decodeLetter(read("letter.cbor"))
		if err != nil {
			t.Fatalf("%s: %v", dir, err)
		}
		if d := cmp.Diff(releasedLetter(), letter, shareCmp()); d != "" {
			t.Errorf("%s: %s", dir, d)
		}

		spool := t.TempDir()
		if err := os.WriteFile(filepath.Join(spool, segmentName(1)), read("spool.seg"), 0o600); err != nil {
			t.Fatal(err)
		}
		s := mustSpool(t, spool, 1<<20)
		waiting, frames, err := s.peek(1<<20, 100)
		if err != nil || frames != 1 || !bytes.Equal(waiting, envelope) {
			t.Errorf("%s: the spool gives %d frames, %d bytes: %v", dir, frames, len(waiting), err)
		}
	}

	// Going back works for as long as this writes what the last version reads: who
	// changes it raises envelopeVersion and says so in docs/UPGRADE.md.
	written, err := c.encodeEnvelope(releasedShares()...)
	if err != nil {
		t.Fatal(err)
	}
	last, err := os.ReadFile(filepath.Join(versions[len(versions)-1], "envelope.cbor"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(written, last) {
		t.Errorf("envelopes are written differently:\n% x\n% x", written, last)
	}
}
