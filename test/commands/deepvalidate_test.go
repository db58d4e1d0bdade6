package commands

import (
	"fmt"
	"testing"

	"purepool/sim/daemon"
	"purepool/test/house"
)

func TestSharesAreJudgedAgainByHandAndByTheJob(t *testing.T) {
	h := house.New(t, house.Options{Daemon: daemon.Options{Network: house.Network}, Extra: "[backend.schedule]\ndeep_validate = \"30d\"\n"})
	o := operator{t, h}
	p := h.Run("all")
	mine(t, h, 2)
	p.Stop()
	type result struct{ Judged, Differing int }
	var results []result
	decode(t, o.run(0, "deep-validate", "--json"), &results)
	if len(results) != 1 || results[0].Judged < 2 || results[0].Differing != 0 {
		t.Errorf("%+v", results)
	}
	o.wants(o.run(0, "deep-validate", "--sample", "1"), "network test: 1 shares judged again, 0 differ")
	o.wants(o.run(0, "schedule", "run", "deep-validate"), "judged again, none differs")
	o.wants(o.run(1, "deep-validate", "--sample=-1"), "must be above zero")

	h.Count(`WITH changed AS (UPDATE purepool.share SET weight = weight + 1 RETURNING 1) SELECT count(*) FROM changed`)
	o.wants(o.run(1, "deep-validate", "--json"), fmt.Sprintf(`"judged":%[1]d,"skipped":0,"differing":%[1]d,`, results[0].Judged), `"ledger":"credited"`)
	o.wants(o.run(1, "deep-validate"), "LEDGER", "the ledger says weight", "ledger and judge disagree")
	o.wants(o.run(1, "schedule", "run", "deep-validate"), "ledger and judge disagree on")

	must(t, h.Daemon.SetFaults(daemon.Fault{Kind: daemon.FaultRefuse}))
	o.wants(o.run(1, "deep-validate", "--patience", "1s"), "does not answer within 1s")
}
