package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"purepool/internal/role"
	"purepool/ledger"
	"purepool/pool/settle"
)

type blockCmd struct {
	List     blockListCmd     `cmd:"" help:"List the pool's blocks, newest first."`
	ShareOut blockShareOutCmd `cmd:"" name:"share-out" help:"Share the rewards of mature blocks out, or show what would come of it."`
}

type blockListCmd struct {
	bookFlags
	Limit int `default:"50" help:"How many at most, of each network."`
}

// blockJSON is a block for machines; money is in satoshis.
type blockJSON struct {
	Network   string     `json:"network"`
	Height    int32      `json:"height"`
	Hash      string     `json:"hash"`
	State     string     `json:"state"`
	BestChain bool       `json:"best_chain"`
	Reward    int64      `json:"reward"`
	SeenAt    time.Time  `json:"seen_at"`
	FoundAt   *time.Time `json:"found_at,omitempty"`
	Finder    string     `json:"finder,omitempty"`
	MinerGUID string     `json:"miner_guid,omitempty"`
	RoundOver bool       `json:"round_over"`
}

func (c *blockListCmd) Run(a *app) error {
	return c.withBooks(a, func(room *bookRoom) error {
		out, rows := []blockJSON{}, []string{}
		for _, network := range room.networks() {
			blocks, err := room.books.PoolBlocks(a.ctx, room.ids[network], c.Limit)
			if err != nil {
				return err
			}
			var finders []int64
			for i := range blocks {
				finders = append(finders, blocks[i].FinderID)
			}
			addresses, err := room.books.Addresses(a.ctx, finders)
			if err != nil {
				return err
			}
			for i := range blocks {
				b := describeBlock(network, &blocks[i], addresses)
				out = append(out, b)
				finder := b.Finder
				if finder == "" {
					finder = "not known"
				}
				rows = append(rows, fmt.Sprintf("%s\t%d\t%s\t%s\t%s\t%s\t%s", network, b.Height, stateOf(&blocks[i]), coins(b.Reward), moment(b.SeenAt), finder, b.Hash))
			}
		}
		return printList(a, c.JSON, out, "no blocks of the pool", "NETWORK\tHEIGHT\tSTATE\tREWARD\tSEEN\tFINDER\tHASH", rows)
	})
}

func describeBlock(network string, b *ledger.Block, addresses map[int64]string) blockJSON {
	out := blockJSON{
		Network: network, Height: b.Height, Hash: hex.EncodeToString(b.Hash[:]), State: b.State, BestChain: b.Main, Reward: b.Reward,
		SeenAt: b.SeenAt, FoundAt: optional(b.FoundAt), Finder: addresses[b.FinderID], RoundOver: b.RoundID != 0,
	}
	if b.FinderGUID != uuid.Nil {
		out.MinerGUID = b.FinderGUID.String()
	}
	return out
}

// stateOf is a block's state in words.
func stateOf(b *ledger.Block) string {
	switch {
	case b.State == ledger.BlockMature:
		return "shared out"
	case b.State == ledger.BlockImmature && !b.Main:
		return "replaced"
	case b.State == ledger.BlockImmature && b.RoundID == 0:
		return "new"
	case b.State == ledger.BlockImmature:
		return "maturing"
	}
	return b.State
}

type blockShareOutCmd struct {
	bookFlags
	DryRun bool   `help:"Compute everything and write nothing."`
	Reason string `help:"Why, for the audit log."`
	Block  int32  `placeholder:"HEIGHT" help:"This block; without it every block whose turn has come (with --dry-run: the next one)."`
}

// Help is printed below the flags.
func (c *blockShareOutCmd) Help() string {
	return `A block must be mature and its turn must have come, whoever asks: blocks are shared out in the order in which their rounds ended.
Running it twice, or while a backend does, shares nothing out twice.`
}

func (c *blockShareOutCmd) Run(a *app) error {
	return c.withBooks(a, func(room *bookRoom) error {
		if !c.DryRun {
			detail := map[string]any{"networks": room.networks(), "height": c.Block}
			if err := room.store.Log(a.ctx, room.by(c.Reason), "share out", detail); err != nil {
				return err
			}
		}
		if c.Block == 0 && !c.DryRun {
			return c.all(a, room)
		}
		network, err := room.theNetwork()
		if err != nil {
			return err
		}
		s, err := room.settlement(network, role.SettlementOptions{})
		if err != nil {
			return err
		}
		height := c.Block
		if height == 0 {
			waiting, err := room.books.ImmatureBlocks(a.ctx, room.ids[network])
			if err != nil {
				return err
			}
			if len(waiting) == 0 {
				return errors.New("no block waits to be shared out")
			}
			height = waiting[0].Height
		}
		result, err := s.Settler.ShareOutBlock(a.ctx, height, c.DryRun)
		if err != nil {
			return err
		}
		return c.print(a, room, network, &result)
	})
}

// all shares out what is due, and says of the next block why it is not.
func (c *blockShareOutCmd) all(a *app, room *bookRoom) error {
	for _, network := range room.networks() {
		report, err := room.once(network, role.JobShareOut, false)
		if err != nil {
			return err
		}
		for i := range report.Shared {
			if err := c.print(a, room, network, &report.Shared[i]); err != nil {
				return err
			}
		}
		waiting, err := room.books.ImmatureBlocks(a.ctx, room.ids[network])
		if err != nil || c.JSON {
			return err
		}
		if len(waiting) == 0 {
			fmt.Fprintf(a.stdout, "network %s: no block waits\n", network)
			continue
		}
		s, err := room.settlement(network, role.SettlementOptions{})
		if err != nil {
			return err
		}
		_, err = s.Settler.ShareOutBlock(a.ctx, waiting[0].Height, true)
		if err != nil && !errors.Is(err, settle.ErrImmature) && !errors.Is(err, ledger.ErrNotDue) {
			return err
		}
		fmt.Fprintf(a.stdout, "network %s: %s waiting; the next: %v\n", network, plural(len(waiting), "block"), err)
	}
	return nil
}

func (c *blockShareOutCmd) print(a *app, room *bookRoom, network string, r *ledger.ShareOutResult) error {
	ids := make([]int64, len(r.Credits))
	amounts := make(map[int64]int64, len(r.Credits))
	for i, credit := range r.Credits {
		ids[i], amounts[credit.MinerID] = credit.MinerID, credit.Amount
	}
	for _, w := range r.Weights {
		ids = append(ids, w.MinerID)
	}
	addresses, err := room.books.Addresses(a.ctx, ids)
	if err != nil {
		return err
	}
	type partJSON struct {
		Miner  string `json:"miner"`
		Shares int64  `json:"shares,omitempty"`
		Hashes string `json:"hashes,omitempty"`
		Amount int64  `json:"amount"`
	}
	parts, rows := []partJSON{}, []string{}
	for _, w := range r.Weights {
		parts = append(parts, partJSON{addresses[w.MinerID], w.Shares, w.Hashes.String(), amounts[w.MinerID]})
		rows = append(rows, fmt.Sprintf("  %s\t%d\t%s\t%s", addresses[w.MinerID], w.Shares, w.Hashes, coins(amounts[w.MinerID])))
		delete(amounts, w.MinerID)
	}
	for _, credit := range r.Credits { // of a solo finder without other shares
		if amount, left := amounts[credit.MinerID]; left {
			parts = append(parts, partJSON{Miner: addresses[credit.MinerID], Amount: amount})
			rows = append(rows, fmt.Sprintf("  %s\t\t\t%s", addresses[credit.MinerID], coins(amount)))
		}
	}
	if c.JSON {
		return printJSON(a.stdout, map[string]any{
			"network": network, "height": r.Block.Height, "reward": r.Block.Reward, "fee": r.Fee, "unclaimed": r.Unclaimed,
			"rounds": len(r.Rounds), "dry_run": c.DryRun, "miners": parts,
		})
	}
	done := "shared out"
	if c.DryRun {
		done = "would be shared out; nothing was written"
	}
	fmt.Fprintf(a.stdout, "block %d of network %s: %s coins %s\n  fee %s, nobody's %s, shares of %s\n",
		r.Block.Height, network, coins(r.Block.Reward), done, coins(r.Fee), coins(r.Unclaimed), plural(len(r.Rounds), "round"))
	return printTable(a.stdout, "  MINER\tSHARES\tHASHES\tCOINS", rows)
}
