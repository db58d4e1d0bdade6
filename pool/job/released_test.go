package job_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"purepool/pool/job"
)

// released are a job and a share as testdata/released holds them, in a folder for
// each version that changed a format. Files are added there and never changed: the
// servers of a pool are upgraded one by one.
func released(t *testing.T) (*job.Job, []job.Share) {
	t.Helper()
	_, j, f := load(t, templates[1])
	return j, []job.Share{
		{Job: 7, Found: *f, Target: 0x1d00ffff, Worker: 5, ReceivedAt: j.IssuedAt, Stale: true},
		{Job: 8, Found: *f, Target: 0x1f00ffff, Worker: 1 << 40, ReceivedAt: j.IssuedAt, Proof: [32]byte{1, 31: 2}},
	}
}

func TestJobsAndSharesOfReleasedVersionsAreReadAndStillWritten(t *testing.T) {
	c, err := job.NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	wantJob, wantShares := released(t)
	versions, err := filepath.Glob(filepath.Join("testdata", "released", "*"))
	if err != nil || len(versions) == 0 {
		t.Fatal("no released version is there", err)
	}
	var jobBytes, shareBytes []byte
	for _, dir := range versions {
		if jobBytes, err = os.ReadFile(filepath.Join(dir, "job.cbor")); err != nil {
			t.Fatal(err)
		}
		if shareBytes, err = os.ReadFile(filepath.Join(dir, "shares.cbor")); err != nil {
			t.Fatal(err)
		}
		j, err := c.DecodeJob(jobBytes)
		if err != nil {
			t.Fatalf("%s: %v", dir, err)
		}
		if d := cmp.Diff(wantJob, j); d != "" {
			t.Errorf("%s: %s", dir, d)
		}
		shares, err := c.DecodeShares(shareBytes)
		if err != nil {
			t.Fatalf("%s: %v", dir, err)
		}
		if len(shares) != 2 || shares[0] != wantShares[0] || shares[1] != wantShares[1] {
			t.Errorf("%s: %+v", dir, shares)
		}
	}
	// Older frontends hear newer backends' jobs, and older backends get newer
	// frontends' shares: see docs/UPGRADE.md before this changes.
	written, err := c.EncodeJob(wantJob)
	if err != nil || !bytes.Equal(written, jobBytes) {
		t.Errorf("jobs are written differently (%v)", err)
	}
	if written, err = c.EncodeShares(wantShares); err != nil || !bytes.Equal(written, shareBytes) {
		t.Errorf("shares are written differently (%v)\n% x\n% x", err, written, shareBytes)
	}
}
