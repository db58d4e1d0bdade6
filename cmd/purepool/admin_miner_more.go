package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"purepool/ledger"
)

// oneMiner finds the one miner that a person means.
func oneMiner(a *app, store *ledger.BackendStore, who, network string) (ledger.MinerRecord, error) {
	q, err := query(a.ctx, store, who, network)
	if err != nil {
		return ledger.MinerRecord{}, err
	}
	miners, err := store.FindMiners(a.ctx, q)
	switch {
	case err != nil:
		return ledger.MinerRecord{}, err
	case who == "" || len(miners) == 0:
		return ledger.MinerRecord{}, fmt.Errorf("there is no miner %s", oneLine(who, 80))
	case len(miners) > 1:
		return ledger.MinerRecord{}, fmt.Errorf("%s stands on several networks, say which with --network", oneLine(who, 80))
	}
	return miners[0], nil
}

type minerMergeCmd struct {
	configFlag
	Network string `help:"The miners' network, where the addresses stand on several."`
	Reason  string `required:"" help:"Why, for the audit log."`
	JSON    bool   `help:"Print as JSON."`
	From    string `arg:"" help:"Address or MINERGUID of the miner that ends."`
	Into    string `arg:"" help:"Address or MINERGUID of the miner that gets what he has and will earn."`
}

// Help is printed below the flags.
func (c *minerMergeCmd) Help() string {
	return `For two miners of one person, such as an address that was lost. FROM's balance moves by an entry of the journal, nothing is
changed in place. From now on the rewards of FROM's shares, those that were counted already included, are credited to INTO;
FROM's rigs may go on as they are, and its statistics stay its own. Payments on their way to FROM are not touched. Run it
again to move what was given to FROM meanwhile. To undo it, merge INTO's part back by purepool admin miner correct.`
}

func (c *minerMergeCmd) Run(a *app) error {
	return c.withLedger(a, func(store *ledger.BackendStore) error {
		from, err := oneMiner(a, store, c.From, c.Network)
		if err != nil {
			return err
		}
		into, err := oneMiner(a, store, c.Into, c.Network)
		if err != nil {
			return err
		}
		books := store.Books()
		moved, err := books.Merge(a.ctx, from.ID, into.ID, ledger.Reason{Who: operator(a), Why: c.Reason})
		if err != nil {
			return err
		}
		balance, _, err := books.MinerBalance(a.ctx, into.ID)
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(a.stdout, map[string]any{"from": from.Address, "into": into.Address, "moved": moved, "balance": balance})
		}
		fmt.Fprintf(a.stdout, "%s coins moved from %s to %s, who has %s now; what %s earns from here on is credited to the latter\n",
			coins(moved), from.Address, into.Address, coins(balance), from.Address)
		return nil
	})
}

type minerExportCmd struct {
	configFlag
	Network string `help:"The miner's network, where the address stands on several."`
	Format  string `enum:"json,csv" default:"json" help:"json or csv."`
	What    string `enum:"all,shares,credits,payments" default:"all" help:"shares, credits (every movement of the balance), payments; all is for JSON only."`
	Who     string `arg:"" name:"address" help:"Address or MINERGUID."`
}

// Help is printed below the flags.
func (c *minerExportCmd) Help() string {
	return `Everything that the pool keeps of a miner, to standard output; amounts are in satoshis. Shares are exported for as long as they
are kept.
  purepool admin miner export --format csv --what payments ADDRESS > payments.csv`
}

func (c *minerExportCmd) Run(a *app) error {
	if c.Format == "csv" && c.What == "all" {
		return errors.New("CSV has one kind of rows: say --what shares, --what credits or --what payments")
	}
	return c.withLedger(a, func(store *ledger.BackendStore) error {
		m, err := oneMiner(a, store, c.Who, c.Network)
		if err != nil {
			return err
		}
		e := exporter{a: a, books: store.Books(), miner: m}
		if c.Format == "csv" {
			return e.csv(c.What)
		}
		return e.json(c.What)
	})
}

// exporter writes what is kept of a miner, row by row: a busy one has millions.
type exporter struct {
	a     *app
	books *ledger.Books
	miner ledger.MinerRecord
}

// The columns of each kind of rows.
func columns(what string) []string {
	switch what {
	case "shares":
		return []string{"id", "received_at", "worker", "height", "weight", "reason"}
	case "credits":
		return []string{"entry", "at", "kind", "account", "amount", "block_height", "payment", "note"}
	}
	return []string{"payment", "created_at", "state", "item_state", "amount", "address", "txid", "confirmations", "tag"}
}

// rows calls see with the cells of every row, texts and whole numbers.
func (e *exporter) rows(what string, see func([]any) error) error {
	stamp := func(t time.Time) string { return t.Format(time.RFC3339Nano) }
	switch what {
	case "shares":
		return e.books.MinerShares(e.a.ctx, e.miner.ID, func(s ledger.MinerShare) error {
			return see([]any{s.ID.String(), stamp(s.ReceivedAt), s.Worker, int64(s.Height), s.Weight, s.Reason})
		})
	case "credits":
		return e.books.MinerMoves(e.a.ctx, e.miner.ID, func(m ledger.MinerMove) error {
			return see([]any{m.EntryID, stamp(m.At), m.Kind, m.Account, m.Amount, int64(m.Height), m.Payment, m.Note})
		})
	}
	return e.books.MinerPayouts(e.a.ctx, e.miner.ID, func(p ledger.MinerPayout) error {
		return see([]any{p.PaymentID, stamp(p.CreatedAt), p.State, p.ItemState, p.Amount, p.Address, p.TxID, int64(p.Confirmations), p.Tag})
	})
}

func (e *exporter) csv(what string) error {
	w := csv.NewWriter(e.a.stdout)
	if err := w.Write(columns(what)); err != nil {
		return err
	}
	err := e.rows(what, func(cells []any) error {
		text := make([]string, len(cells))
		for i, c := range cells {
			if n, ok := c.(int64); ok {
				text[i] = strconv.FormatInt(n, 10)
				continue
			}
			text[i] = harmlessCell(fmt.Sprint(c))
		}
		return w.Write(text)
	})
	w.Flush()
	return errors.Join(err, w.Error())
}

// harmlessCell keeps a spreadsheet from taking a worker's name for a formula.
func harmlessCell(s string) string {
	if s != "" && (s[0] == '=' || s[0] == '+' || s[0] == '-' || s[0] == '@' || s[0] == '\t' || s[0] == '\r') {
		return "'" + s
	}
	return s
}

func (e *exporter) json(what string) error {
	w := e.a.stdout
	head, err := json.Marshal(map[string]any{
		"address": e.miner.Address, "network": e.miner.Network, "miner_guid": e.miner.GUID, "enabled": e.miner.Enabled, "created_at": e.miner.CreatedAt,
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(w, `{"miner":%s`, head)
	for _, kind := range []string{"shares", "credits", "payments"} {
		if what != "all" && what != kind {
			continue
		}
		if err := e.jsonRows(w, kind); err != nil {
			return err
		}
	}
	_, err = io.WriteString(w, "}\n")
	return err
}

func (e *exporter) jsonRows(w io.Writer, kind string) error {
	fmt.Fprintf(w, ",\n%q:[", kind)
	names, first := columns(kind), true
	err := e.rows(kind, func(cells []any) error {
		row := make(map[string]any, len(cells))
		for i, c := range cells {
			row[names[i]] = c
		}
		text, err := json.Marshal(row)
		if err != nil {
			return err
		}
		if !first {
			text = append([]byte(",\n"), text...)
		}
		first = false
		_, err = w.Write(text)
		return err
	})
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, "]")
	return err
}
