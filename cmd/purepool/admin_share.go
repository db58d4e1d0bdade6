package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"purepool/ledger"
	"purepool/pool/pow"
)

type shareCmd struct {
	Why shareWhyCmd `cmd:"" help:"Why was this share rejected, or was it credited?"`
}

type shareWhyCmd struct {
	configFlag
	Network string `help:"Only this network."`
	Miner   string `placeholder:"ADDRESS" help:"The newest rejected shares of this miner."`
	Limit   int    `default:"5" help:"How many at most."`
	JSON    bool   `help:"Print as JSON."`
	Ref     string `arg:"" optional:"" name:"id-or-hash" help:"Id of the share or of its work, or its hash (64 hex digits)."`
}

// Help is printed below the flags.
func (c *shareWhyCmd) Help() string {
	return `Says at which station the share was refused, and with which values: the hash and the target, the height that it builds on and
the tip of the chain when it arrived. Rejected shares are kept for backend.keep_rejected, credited ones for keep_shares.
A share that is not there may still wait: purepool admin status, purepool admin deadletter list.`
}

// storyJSON is a share for machines.
type storyJSON struct {
	ID         uuid.UUID  `json:"id"`
	Credited   bool       `json:"credited"`
	Reason     string     `json:"reason,omitempty"`
	Means      string     `json:"means"`
	Station    string     `json:"station"`
	Detail     string     `json:"detail,omitempty"`
	Miner      string     `json:"miner,omitempty"`
	Worker     string     `json:"worker,omitempty"`
	ReceivedAt time.Time  `json:"received_at"`
	JudgedAt   time.Time  `json:"judged_at"`
	Height     *int32     `json:"height,omitempty"`
	TipHeight  *int32     `json:"tip_height_at_arrival,omitempty"`
	TipHash    string     `json:"tip_hash_at_arrival,omitempty"`
	TipSeen    *time.Time `json:"tip_seen_at,omitempty"`
	NextTip    *time.Time `json:"next_tip_seen_at,omitempty"`
	Hash       string     `json:"hash,omitempty"`
	Target     string     `json:"target,omitempty"`
	Meets      *bool      `json:"meets_target,omitempty"`
	Weight     int64      `json:"weight,omitempty"`
	WorkID     string     `json:"work_id,omitempty"`
	IssuedAt   *time.Time `json:"work_issued_at,omitempty"`
	First      string     `json:"first_share_with_this_hash,omitempty"`
	Solution   string     `json:"solution,omitempty"`
}

func (c *shareWhyCmd) Run(a *app) error {
	if (c.Ref == "") == (c.Miner == "") {
		return errors.New("say one of: the id of a share or of its work, its hash, or --miner ADDRESS")
	}
	q := ledger.ShareQuery{Limit: c.Limit}
	if c.Ref != "" {
		if err := readShareRef(c.Ref, &q); err != nil {
			return err
		}
	}
	return c.withLedger(a, func(store *ledger.BackendStore) error {
		if c.Miner != "" {
			m, err := oneMiner(a, store, c.Miner, c.Network)
			if err != nil {
				return err
			}
			q.MinerID, q.NetworkID = m.ID, m.NetworkID
		} else if c.Network != "" {
			ids, err := store.Networks(a.ctx)
			if err != nil {
				return err
			}
			id, ok := ids[c.Network]
			if !ok {
				return fmt.Errorf("the database knows no network %s", oneLine(c.Network, 40))
			}
			q.NetworkID = id
		}
		stories, err := store.ShareStories(a.ctx, q)
		if err != nil {
			return err
		}
		out := make([]storyJSON, len(stories))
		for i := range stories {
			out[i] = describeShare(&stories[i])
		}
		if c.JSON {
			return printJSON(a.stdout, out)
		}
		if len(out) == 0 {
			fmt.Fprintln(a.stdout, "the ledger has no such share: too old, still on its way (purepool admin status), set aside (purepool admin deadletter list), or never sent")
			return nil
		}
		for i := range out {
			printShare(a, &out[i], &stories[i])
		}
		return nil
	})
}

// readShareRef reads an id or a hash.
func readShareRef(ref string, q *ledger.ShareQuery) error {
	if id, err := uuid.Parse(ref); err == nil {
		q.ID = id
		return nil
	}
	hash, err := hex.DecodeString(strings.TrimPrefix(ref, "0x"))
	if err != nil || len(hash) != 32 {
		return fmt.Errorf("%s is neither an id (a UUID) nor a hash (64 hex digits)", oneLine(ref, 80))
	}
	q.Proof = [32]byte(hash)
	return nil
}

// station says where on its way a share was refused, and what that means in plain
// words.
func station(s *ledger.ShareStory) (where, means string) {
	const (
		desk      = "frontend, before the queue"
		validator = "validator, from the ledger and the share itself"
		daemon    = "validator, by the coin daemon's word"
		tip       = "validator, against the chain's tip at the share's arrival"
	)
	switch {
	case s.Reason == "":
		return "ledger", "credited: it counts in its round"
	case s.Reason == "HashTargetExceeded":
		return desk + " or validator", "its hash is above the target of its work: not enough work was done"
	case s.Reason == "BibleHashAlreadyKnown":
		return "ledger", "another share had the same proof before, at the same height: it counts once"
	}
	if e, ok := explanations()[s.Reason]; ok {
		switch e.at {
		case 'd':
			return desk + " or validator", e.means
		case 't':
			return tip, e.means
		case 'b':
			return daemon, e.means
		}
		return validator, e.means
	}
	return validator, "refused under a name that this program does not explain"
}

type explanation struct {
	at    byte // d: front desk or validator, v: validator, t: tip, b: daemon
	means string
}

func explanations() map[string]explanation {
	return map[string]explanation{
		"SolutionInvalid":                        {'d', "the text could not be read: it is not what a miner of this pool sends"},
		"UnknownWork":                            {'d', "its work was not issued to this miner on this network, or is so old that it was dropped"},
		"WorkTampered":                           {'v', "its work is not what an honest frontend issues: look whether a frontend was broken into"},
		"MinerDisabled":                          {'d', "the operator has disabled the miner (purepool admin log --miner)"},
		"MinerIgnored":                           {'v', "the operator lets this miner's shares count for nothing (purepool admin log --miner)"},
		"WorkExpired":                            {'d', "its work was older than frontend.work_lifetime when it arrived"},
		"BibleHashWrong":                         {'b', "the hash that the miner claims is not the one that the daemon computes"},
		"TransactionInvalid":                     {'b', "its coinbase cannot be read"},
		"BlockHashWrong":                         {'v', "the hash of its header is not the one that it claims"},
		"BlockTimeWrong":                         {'v', "the time in its header is not the one that it claims"},
		"NonceWrong":                             {'v', "the nonce in its header is not the one that it claims"},
		"MerkleRootWrong":                        {'v', "its transactions do not fit its header"},
		"MinerGuidWrong":                         {'v', "its coinbase names another miner of the pool"},
		"TransactionTampered: Not the coinbase":  {'v', "the transaction that it shows is not its block's coinbase"},
		"TransactionTampered: Invalid recipient": {'b', "its block pays somebody else than the pool"},
		"TransactionTampered: Pool paid too little": {'v', "its block pays the pool less than min_pool_percent"},
		"TransactionTampered: Nonce height wrong":   {'v', "its nonce is higher than the chain allows by now: made up, or a wrong clock"},
		"TransactionTampered: Wrong height":         {'t', "it builds on another height than the tip had when it arrived: it came too late, or the miner's node is behind or on a fork"},
		"PrevBlockHashWrong":                        {'t', "it builds on another block of the tip's height: the miner's node is on a fork"},
		"PrevBlockTimeWrong":                        {'t', "it names another time for the block before it than that block has"},
		"Biblepayd_Outdated":                        {'b', "the pool's own daemon is too old to judge it: update the daemon"},
		"Invalid_CPID":                              {'b', "the signature of its research identity is wrong"},
		"Illegal_CPID":                              {'b', "the chain does not accept its research identity now"},
		"UnknownJob":                                {'v', "the pool issued no such job, or the job is long over"},
		"StaleShare":                                {'t', "its job was made worthless by a newer block before it arrived"},
		"TimeOutOfRange":                            {'v', "the time in its header is too far off: a wrong clock"},
		"ExtranonceWrong":                           {'v', "it changes a part of the coinbase that was not the miner's"},
		"VersionBitsWrong":                          {'v', "it changes bits of the version that the miner may not"},
		"UnknownWorker":                             {'v', "its worker is not in the ledger"},
		"Other":                                     {'v', "a frontend refused it under a name that does not exist: a frontend of another version, or one that was broken into"},
	}
}

func describeShare(s *ledger.ShareStory) storyJSON {
	where, means := station(s)
	out := storyJSON{
		ID: s.ID, Credited: s.Reason == "", Reason: s.Reason, Means: means, Station: where, Detail: s.Detail, Miner: s.Address, Worker: s.Worker,
		ReceivedAt: s.ReceivedAt, JudgedAt: s.JudgedAt, TipSeen: optional(s.TipSeen), NextTip: optional(s.NextTip), Weight: s.Weight,
		IssuedAt: optional(s.IssuedAt), Solution: oneLine(string(s.Solution), 8000),
	}
	if s.Height >= 0 {
		out.Height = &s.Height
	}
	if !s.TipSeen.IsZero() {
		out.TipHeight, out.TipHash = &s.TipHeight, hex.EncodeToString(s.TipHash[:])
	}
	if s.Proof != [32]byte{} {
		out.Hash = hex.EncodeToString(s.Proof[:])
	}
	if !s.IssuedAt.IsZero() {
		out.Target = hex.EncodeToString(s.Target[:])
		if out.Hash != "" {
			meets := pow.Target(s.Target).MetBy(s.Proof)
			out.Meets = &meets
		}
	}
	if s.WorkID != uuid.Nil {
		out.WorkID = s.WorkID.String()
	}
	if s.FirstID != uuid.Nil {
		out.First = s.FirstID.String()
	}
	return out
}

func printShare(a *app, s *storyJSON, story *ledger.ShareStory) {
	row := func(name, value string) { fmt.Fprintf(a.stdout, "  %-10s %s\n", name, value) }
	verdict := "rejected: " + s.Reason
	if s.Credited {
		verdict = fmt.Sprintf("credited with weight %d", s.Weight)
	}
	fmt.Fprintf(a.stdout, "share %s %s\n", s.ID, verdict)
	row("means", s.Means)
	row("station", s.Station)
	if s.Detail != "" {
		row("detail", oneLine(s.Detail, 300))
	}
	row("arrived", fmt.Sprintf("%s, judged %v later", story.ReceivedAt.Format("2006-01-02 15:04:05.000"), s.JudgedAt.Sub(s.ReceivedAt).Round(time.Millisecond)))
	row("miner", fmt.Sprintf("%s, worker %s", orDash(s.Miner), oneLine(orDash(s.Worker), 60)))
	height := "not known"
	if s.Height != nil {
		height = fmt.Sprint(*s.Height)
	}
	if s.TipHeight != nil {
		height += fmt.Sprintf("; the tip at its arrival was %d (%s), seen %v before", *s.TipHeight, s.TipHash, story.ReceivedAt.Sub(story.TipSeen).Round(time.Millisecond))
	}
	if s.NextTip != nil {
		height += fmt.Sprintf(", the next tip came %v after", story.NextTip.Sub(story.ReceivedAt).Round(time.Millisecond))
	}
	row("height", height)
	row("hash", orDash(s.Hash))
	switch {
	case s.Target == "":
		row("target", "not kept (its work is unknown or was dropped by age)")
	case s.Meets == nil:
		row("target", s.Target)
	case *s.Meets:
		row("target", s.Target+" (the hash meets it)")
	default:
		row("target", s.Target+" (the hash does NOT meet it)")
	}
	if s.WorkID != "" {
		issued := ""
		if !story.IssuedAt.IsZero() {
			issued = fmt.Sprintf(", issued %v before", story.ReceivedAt.Sub(story.IssuedAt).Round(time.Millisecond))
		}
		row("work", s.WorkID+issued)
	}
	if s.First != "" {
		row("first", fmt.Sprintf("%s had this hash %v before", s.First, story.ReceivedAt.Sub(story.FirstAt).Round(time.Millisecond)))
	}
	if s.Solution != "" {
		row("solution", oneLine(s.Solution, 400))
	}
}
