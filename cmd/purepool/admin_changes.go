package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"purepool/ledger"
)

type logCmd struct {
	configFlag
	Since  time.Duration `placeholder:"DURATION" help:"Only what is younger, such as 24h."`
	Who    string        `help:"Only of whose name begins so."`
	Action string        `help:"Only actions that hold this word, such as payment."`
	Miner  string        `placeholder:"ADDRESS" help:"Only about this miner."`
	Limit  int           `default:"100" help:"How many at most."`
	JSON   bool          `help:"Print as JSON."`
}

// Help is printed below the flags.
func (c *logCmd) Help() string {
	return `Everything that was changed by hand, the newest first. The database refuses to change or remove these lines.
  purepool admin log --action payment --since 168h`
}

func (c *logCmd) Run(a *app) error {
	if c.Since < 0 {
		return fmt.Errorf("--since %v lies in the future: say how long ago, such as 24h", c.Since)
	}
	return c.withLedger(a, func(store *ledger.BackendStore) error {
		q := ledger.AuditQuery{Who: c.Who, Action: c.Action, Limit: c.Limit}
		if c.Since > 0 {
			q.Since = time.Now().Add(-c.Since)
		}
		if c.Miner != "" {
			m, err := oneMiner(a, store, c.Miner, "")
			if err != nil {
				return err
			}
			q.MinerID = m.ID
		}
		list, err := store.AuditLog(a.ctx, q)
		if err != nil {
			return err
		}
		type lineJSON struct {
			ID     int64           `json:"id"`
			At     time.Time       `json:"at"`
			Who    string          `json:"who"`
			Action string          `json:"action"`
			Why    string          `json:"why"`
			Detail json.RawMessage `json:"detail"`
		}
		out, rows := []lineJSON{}, []string{}
		for _, e := range list {
			out = append(out, lineJSON(e))
			rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s", moment(e.At), oneLine(e.Who, 40), oneLine(e.Action, 40),
				detailText(e.Detail), oneLine(orDash(e.Why), 100)))
		}
		return printList(a, c.JSON, out, "nothing was changed by hand", "AT\tWHO\tWHAT\tON\tWHY", rows)
	})
}

// detailText writes an object in a few words.
func detailText(raw json.RawMessage) string {
	var detail map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber() // satoshis have more digits than a float
	if err := d.Decode(&detail); err != nil {
		return oneLine(string(raw), 80)
	}
	var words []string
	for _, name := range slices.Sorted(maps.Keys(detail)) {
		if v := detail[name]; v != nil && v != "" {
			words = append(words, fmt.Sprintf("%s=%v", name, v))
		}
	}
	return oneLine(strings.Join(words, " "), 100)
}
