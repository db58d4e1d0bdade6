package ledger

import (
	"context"
	"time"

	"github.com/lib/pq"
)

// maxWorkers bounds how many workers of one miner pages look at: the newest. An
// address can have any number of them, since anybody may name one.
const maxWorkers = 1000

// WebMiner is a miner as anybody may see him.
type WebMiner struct {
	ID        int64
	NetworkID int16
	Address   string
	Enabled   bool
	CreatedAt time.Time
}

// FindMiners returns the miners with these addresses on a network, by address.
// Addresses of nobody are missing.
func (s *WebStore) FindMiners(ctx context.Context, networkID int16, addresses []string) (map[string]WebMiner, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	asked := make([]string, 0, len(addresses))
	for _, a := range addresses {
		if _, err := nameText(a, MaxAddress); err == nil && len(a) <= MaxAddress {
			asked = append(asked, a)
		}
	}
	found := make(map[string]WebMiner, len(asked))
	if len(asked) == 0 {
		return found, nil
	}
	var rows []struct {
		ID        int64
		Address   string
		Enabled   bool
		CreatedAt time.Time `db:"created_at"`
	}
	// Uses miner_network_id_address_key.
	err := s.selectRows(ctx, &rows, `SELECT m.id, m.address, m.enabled, m.created_at
		FROM unnest(CAST($2 AS text[])) AS a (address) JOIN pool_miner m ON m.network_id = $1 AND m.address = a.address`, networkID, pq.Array(asked))
	for _, r := range rows {
		found[r.Address] = WebMiner{r.ID, networkID, r.Address, r.Enabled, r.CreatedAt.UTC()}
	}
	return found, wrap(ctx, "find miners", err)
}

// WorkerFigures are a worker's numbers.
type WorkerFigures struct {
	ID          int64
	Name        string
	RateShort   int64 // hashes per second over ten minutes
	RateHour    int64 // these two: since the worker came where that is shorter
	RateDay     int64
	Shares      int64 // credited in 24 hours
	Rejected    int64
	LastShareAt time.Time // to the minute; zero: none in the days for which minutes are kept
	CreatedAt   time.Time
}

// Online says whether the worker counts as online at that moment.
func (w *WorkerFigures) Online(now time.Time) bool {
	return !w.LastShareAt.IsZero() && now.Sub(w.LastShareAt) < OnlineWindow+time.Minute
}

// WorkerRefusals counts a worker's refused shares by reason.
type WorkerRefusals struct {
	Worker string
	Refusals
}

// Money is what a miner has, in satoshis.
type Money struct {
	Balance  int64 // credited and not paid
	Reserved int64 // in payments under way
	Paid     int64 // in payments that were made
	// Immature is his part of blocks that are not shared out yet, by their shares
	// as counted so far and before the fee: an estimate.
	Immature int64
	// Threshold is his own, 0: the network's.
	Threshold int64
	Held      bool // the operator holds his payments
	// LastPaymentAt is when the last payment to him was planned; zero: never.
	LastPaymentAt time.Time
}

// Entry is one movement of a miner's balance.
type Entry struct {
	ID     int64
	At     time.Time
	Kind   string // block, payment, correction, reversal
	Amount int64  // satoshis
	Height int32  // of the block; 0: none
}

// MinerPayment is a miner's part of a payment.
type MinerPayment struct {
	ID            int64
	Amount        int64  // satoshis
	ItemState     string // planned, paid, set_aside, released
	State         string // of the payment
	TxID          [32]byte
	Confirmations int32
	CreatedAt     time.Time
	StateAt       time.Time
}

// Rating is a miner's rating.
type Rating struct {
	Rating  int
	Percent string // of the pool's shares for each block, decimal
	Shares  int64
	Blocks  int64
	RatedAt time.Time `db:"rated_at"`
}

// MinerDay is what a miner did on a day.
type MinerDay struct {
	Day      time.Time // its beginning, UTC
	Shares   int64
	Rejected int64
}

// MinerFigures is what a miner's page shows.
type MinerFigures struct {
	Workers  []WorkerFigures  // those who worked last first
	Refusals []WorkerRefusals // of the last 24 hours, the most frequent first
	Days     []MinerDay       // seven UTC days, half-open, today last
	Money    Money
	Rating   *Rating        // nil: none
	Entries  []Entry        // the newest movements of the balance
	Payments []MinerPayment // the newest ones
}
