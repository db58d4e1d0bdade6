package web

import (
	"encoding/json"
	"time"

	"purepool/ledger"
)

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// The API's answers. The texts after doc are the OpenAPI document's. Amounts are
// whole satoshis, rates whole hashes a second, times RFC 3339 in UTC.

type apiPool struct {
	Title    string       `json:"title" doc:"The pool's name."`
	Networks []apiNetwork `json:"networks" doc:"The networks that it serves."`
}

type apiNetwork struct {
	Network         string     `json:"network" doc:"Name in addresses."`
	Coin            string     `json:"coin" doc:"Name of the coin."`
	Mode            string     `json:"mode" doc:"classic: miners build blocks. template: the pool does."`
	Algorithm       string     `json:"algorithm" doc:"Hash function of the header."`
	FeePercent      string     `json:"fee_percent" doc:"The pool's part of each reward, a decimal number."`
	Scheme          string     `json:"scheme" doc:"How rewards are shared out: prop, pplns or solo."`
	HashesPerSecond int64      `json:"hashes_per_second" doc:"The pool's hash rate over ten minutes."`
	Miners          int64      `json:"miners_online" doc:"Miners with a rig online."`
	Workers         int64      `json:"workers_online" doc:"Rigs with a share in the last 15 minutes."`
	MinersDay       int64      `json:"miners_24h" doc:"Miners with a share in the last 24 hours."`
	Height          int32      `json:"height" doc:"Height of the chain; 0 while unknown."`
	BlockHashes     float64    `json:"block_hashes" doc:"Hashes that a block takes on average, by the pool's newest block; 0 while unknown."`
	Effort          *float64   `json:"effort" doc:"What the round has taken so far; 1 is what a block takes on average. Null while unknown."`
	RoundSince      *time.Time `json:"round_since" doc:"Start of the round; null: since the pool began."`
	LastShareAt     *time.Time `json:"last_share_at" doc:"The last credited share, to the minute; null: none in a day."`
	LastBlock       *apiBlock  `json:"last_block" doc:"The pool's newest block; null: none yet."`
	At              time.Time  `json:"at" doc:"The moment of these numbers."`
}

type apiBlock struct {
	Height        int32     `json:"height" doc:"Height in the chain."`
	Hash          string    `json:"hash" doc:"Hash, 64 hex digits."`
	FoundAt       time.Time `json:"found_at" doc:"When the pool saw it."`
	BlockTime     time.Time `json:"block_time" doc:"Time in its header."`
	Finder        *string   `json:"finder" doc:"Address of the miner who found it; null: not known."`
	Reward        *int64    `json:"reward_satoshis" doc:"What it brought; null: not known yet."`
	State         string    `json:"state" doc:"immature, mature (shared out) or orphaned." enum:"immature,mature,orphaned"`
	OnChain       bool      `json:"on_chain" doc:"Whether it is on the best chain now."`
	Confirmations int64     `json:"confirmations" doc:"Blocks from it to the tip, itself included."`
	Effort        *float64  `json:"effort" doc:"What its round took; 1 is what a block takes on average. Null while unknown."`
	Shares        int64     `json:"round_shares" doc:"Credited shares of its round."`
	Miners        int64     `json:"round_miners" doc:"Miners of its round."`
}

type apiPayment struct {
	ID            int64     `json:"id" doc:"Number of the payment."`
	State         string    `json:"state" doc:"intent (planned), sending, sent, confirmed, or unclear (waits for a person)." enum:"intent,sending,sent,confirmed,unclear"`
	TxID          *string   `json:"txid" doc:"Transaction, 64 hex digits; null: none yet."`
	Amount        int64     `json:"amount_satoshis" doc:"Sum, the network's fee included."`
	NetworkFee    *int64    `json:"network_fee_satoshis" doc:"The network's fee; null: not known yet."`
	Miners        int64     `json:"miners" doc:"How many miners it pays."`
	Confirmations int32     `json:"confirmations" doc:"Confirmations, as counted until it is deep enough."`
	CreatedAt     time.Time `json:"created_at" doc:"When it was planned."`
	StateAt       time.Time `json:"state_at" doc:"When it came into its state."`
}

type apiRecentMiner struct {
	Address         string `json:"address" doc:"The miner's address."`
	Workers         int64  `json:"workers_online" doc:"Rigs online."`
	Shares          int64  `json:"shares_24h" doc:"Credited shares, to the hour."`
	Rejected        int64  `json:"rejected_24h" doc:"Refused shares, to the hour."`
	HashesPerSecond int64  `json:"hashes_per_second" doc:"Over ten minutes."`
	HashesDay       int64  `json:"hashes_per_second_24h" doc:"Over a day, or since the miner came."`
}

type apiMiner struct {
	Address         string           `json:"address" doc:"The miner's address."`
	Enabled         bool             `json:"enabled" doc:"False where the operator has disabled it."`
	Since           time.Time        `json:"since" doc:"When it was first seen."`
	HashesPerSecond int64            `json:"hashes_per_second" doc:"Over ten minutes."`
	HashesHour      int64            `json:"hashes_per_second_1h" doc:"Over an hour, or since the workers came."`
	HashesDay       int64            `json:"hashes_per_second_24h" doc:"Over a day, or since the workers came."`
	Shares          int64            `json:"shares_24h" doc:"Credited shares."`
	Rejected        map[string]int64 `json:"rejected_24h" doc:"Refused shares by reason."`
	WorkersOnline   int64            `json:"workers_online" doc:"Rigs online."`
	LastShareAt     *time.Time       `json:"last_share_at" doc:"The last credited share, to the minute; null: none in days."`
	Balance         int64            `json:"balance_satoshis" doc:"Credited and not paid."`
	Reserved        int64            `json:"reserved_satoshis" doc:"In payments under way."`
	Immature        int64            `json:"immature_satoshis" doc:"Estimated part of blocks that are not shared out yet, before the fee."`
	Paid            int64            `json:"paid_satoshis" doc:"In payments that were made."`
	Threshold       *int64           `json:"threshold_satoshis" doc:"Balance from which on it is paid; null: not told."`
	Held            bool             `json:"held" doc:"True where the operator holds its payments."`
	Rating          *int             `json:"rating" doc:"From -3 to 3; null: none."`
}

type apiWorker struct {
	Name            string     `json:"name" doc:"The rig's name."`
	Online          bool       `json:"online" doc:"A share in the last 15 minutes."`
	LastShareAt     *time.Time `json:"last_share_at" doc:"The last credited share, to the minute; null: none in days."`
	HashesPerSecond int64      `json:"hashes_per_second" doc:"Over ten minutes."`
	HashesHour      int64      `json:"hashes_per_second_1h" doc:"Over an hour."`
	HashesDay       int64      `json:"hashes_per_second_24h" doc:"Over a day."`
	Shares          int64      `json:"shares_24h" doc:"Credited shares."`
	Rejected        int64      `json:"rejected_24h" doc:"Refused shares."`
}

type apiEntry struct {
	At     time.Time `json:"at" doc:"When."`
	Kind   string    `json:"kind" doc:"block (a credit), payment (a debit, or its return), correction, reversal." enum:"block,payment,network_fee,correction,reversal"`
	Amount int64     `json:"amount_satoshis" doc:"Positive is the miner's gain."`
	Height int32     `json:"block_height" doc:"Block that it is for; 0: none."`
}

type apiMinerPayment struct {
	Amount        int64     `json:"amount_satoshis" doc:"The miner's part, the network's fee included."`
	ItemState     string    `json:"part" doc:"planned, paid, or set_aside (the address could not be paid)." enum:"planned,paid,set_aside"`
	State         string    `json:"state" doc:"State of the whole payment." enum:"intent,sending,sent,confirmed,unclear,cancelled"`
	TxID          *string   `json:"txid" doc:"Transaction, 64 hex digits; null: none yet."`
	Confirmations int32     `json:"confirmations" doc:"Confirmations, as counted until it is deep enough."`
	CreatedAt     time.Time `json:"created_at" doc:"When it was planned."`
}

type apiSeries struct {
	Span   string     `json:"span" doc:"What was asked for." enum:"day,week,month"`
	Step   int64      `json:"step_seconds" doc:"Seconds from one point to the next."`
	Points []apiPoint `json:"points" doc:"Without gaps, the oldest first."`
}

type apiPoint struct {
	At              int64 `json:"at" doc:"Its beginning, Unix seconds."`
	HashesPerSecond int64 `json:"hashes_per_second" doc:"On average in this step."`
	Shares          int64 `json:"shares" doc:"Credited shares."`
	Rejected        int64 `json:"rejected" doc:"Refused shares."`
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func optionalHash(h [32]byte) *string {
	if h == [32]byte{} {
		return nil
	}
	text := formatHash(h)
	return &text
}

// optional is nil for what is not known.
func optional[T int64 | float64](v T) *T {
	if v < 0 {
		return nil
	}
	return &v
}

func newAPIBlock(v blockView) apiBlock {
	b := apiBlock{
		Height: v.Height, Hash: formatHash(v.Hash), FoundAt: v.SeenAt, BlockTime: v.BlockTime, Reward: optional(v.Reward),
		State: v.State, OnChain: v.Main, Confirmations: v.Confirmations, Effort: optional(v.Effort), Shares: v.Shares, Miners: v.Miners,
	}
	if v.Finder != "" {
		b.Finder = &v.Finder
	}
	return b
}

func newAPIPayment(t ledger.Transaction) apiPayment {
	return apiPayment{
		ID: t.ID, State: t.State, TxID: optionalHash(t.TxID), Amount: t.Amount, NetworkFee: optional(t.NetworkFee), Miners: t.Miners,
		Confirmations: t.Confirmations, CreatedAt: t.CreatedAt, StateAt: t.StateAt,
	}
}

func newAPIMinerPayment(p ledger.MinerPayment) apiMinerPayment {
	return apiMinerPayment{
		Amount: p.Amount, ItemState: p.ItemState, State: p.State, TxID: optionalHash(p.TxID), Confirmations: p.Confirmations, CreatedAt: p.CreatedAt,
	}
}

func newAPISeries(s ledger.Series) apiSeries {
	out := apiSeries{Span: s.Span, Step: int64(s.Step.Seconds()), Points: make([]apiPoint, len(s.Points))}
	for i, p := range s.Points {
		out.Points[i] = apiPoint{p.At.Unix(), p.HashesPerSecond, p.Shares, p.Rejected}
	}
	return out
}

func readPool(s *Server, b *builder, _ *request, _ listParams) (any, string, error) {
	pool := apiPool{Title: s.cfg.Title}
	for i := range s.cfg.Networks {
		b.network = &s.cfg.Networks[i]
		n, err := networkNow(b)
		if err != nil {
			return nil, "", err
		}
		pool.Networks = append(pool.Networks, n)
	}
	return pool, "", nil
}

func readNetwork(_ *Server, b *builder, _ *request, _ listParams) (any, string, error) {
	n, err := networkNow(b)
	return n, "", err
}

func networkNow(b *builder) (apiNetwork, error) {
	p, err := b.pulse()
	if err != nil {
		return apiNetwork{}, err
	}
	n := b.network
	out := apiNetwork{
		Network: n.Name, Coin: n.Chain.Coin, Mode: n.Mode, Algorithm: n.Algorithm, FeePercent: n.FeePercent, Scheme: p.Scheme,
		HashesPerSecond: p.HashesPerSecond, Miners: p.Miners, Workers: p.Workers, MinersDay: p.MinersDay, Height: p.Height,
		BlockHashes: p.BlockHashes, RoundSince: optionalTime(p.RoundSince), LastShareAt: optionalTime(p.LastShareAt), At: p.At,
	}
	if e, ok := p.Effort(); ok {
		out.Effort = &e
	}
	if p.LastBlock != nil {
		block := newAPIBlock(blockViews(n, []ledger.PoolBlock{*p.LastBlock}, p.Height)[0])
		out.LastBlock = &block
	}
	return out, nil
}

func readSeries(_ *Server, b *builder, _ *request, p listParams) (any, string, error) {
	series, err := b.series(p.span)
	return newAPISeries(series), "", err
}

func readMinerSeries(_ *Server, b *builder, q *request, p listParams) (any, string, error) {
	m, _, err := minerAnd(b, q, p)
	if err != nil {
		return nil, "", err
	}
	series, err := b.minerSeries(m, p.span)
	return newAPISeries(series), "", err
}

func readMiner(_ *Server, b *builder, q *request, p listParams) (any, string, error) {
	m, _, err := minerAnd(b, q, p)
	if err != nil {
		return nil, "", err
	}
	details, err := b.details(m)
	if err != nil {
		return nil, "", err
	}
	d := &minerData{Miner: m, Details: details}
	d.figures(b.network, b.now)
	out := apiMiner{
		Address: m.Address, Enabled: m.Enabled, Since: m.CreatedAt, HashesPerSecond: d.RateShort, HashesHour: d.RateHour, HashesDay: d.RateDay,
		Shares: d.Shares, Rejected: map[string]int64{}, WorkersOnline: d.Online, LastShareAt: optionalTime(d.LastShareAt),
		Balance: d.Money.Balance, Reserved: d.Money.Reserved, Immature: d.Money.Immature, Paid: d.Money.Paid, Held: d.Money.Held,
	}
	for _, r := range d.Reasons {
		out.Rejected[r.Reason] = r.Count
	}
	if d.Money.Threshold > 0 {
		out.Threshold = &d.Money.Threshold
	}
	if details.Rating != nil {
		out.Rating = &details.Rating.Rating
	}
	return out, "", nil
}

func readWorkers(_ *Server, b *builder, q *request, p listParams) (any, string, error) {
	m, _, err := minerAnd(b, q, p)
	if err != nil {
		return nil, "", err
	}
	details, err := b.details(m)
	if err != nil {
		return nil, "", err
	}
	list := make([]apiWorker, len(details.Workers))
	for i, w := range details.Workers {
		list[i] = apiWorker{w.Name, w.Online(b.now), optionalTime(w.LastShareAt), w.RateShort, w.RateHour, w.RateDay, w.Shares, w.Rejected}
	}
	return list, "", nil
}

// coinsJSON writes satoshis as coins the way the original's API does: a whole
// number where it is one.
func coinsJSON(satoshis int64) json.RawMessage {
	if satoshis%satoshisPerCoin == 0 {
		return json.RawMessage(jsonInt(satoshis / satoshisPerCoin))
	}
	return json.RawMessage(decimalCoins(satoshis))
}
