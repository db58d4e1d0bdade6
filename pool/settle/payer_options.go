package settle

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"purepool/bbprpc"
	"purepool/internal/failpoint"
	"purepool/pool/chain"
)

// DayWindow is a time of day in UTC, as durations since midnight. Both ends the
// same: always. From after To: over midnight.
type DayWindow struct{ From, To time.Duration }

// Open reports whether a moment lies in [From, To).
func (w DayWindow) Open(t time.Time) bool {
	t = t.UTC()
	at := t.Sub(t.Truncate(24 * time.Hour))
	switch {
	case w.From == w.To:
		return true
	case w.From < w.To:
		return at >= w.From && at < w.To
	}
	return at >= w.From || at < w.To
}

// MaxBatch is the most recipients of one transaction: about 2,700 fit, and more
// fail with a misleading message.
const MaxBatch = 500

// PayerOptions are the settings of a payer; zero values mean the defaults.
type PayerOptions struct {
	Network   string
	NetworkID int16
	Chain     chain.Network
	Family    bbprpc.WalletFamily // dash

	// Threshold is the balance from which on (>=) a miner is paid, in satoshis;
	// 10 coins.
	Threshold   int64
	MinInterval time.Duration // between two payments to a miner; 12 h. Negative: none
	Window      DayWindow     // when payments begin
	MaxMiners   int           // planned in one run; 2,000
	BatchSize   int           // miners in one transaction; MaxBatch, which is the most
	// PoolPaysFee: the network fee comes from the pool's fees. Otherwise it is
	// taken from the amounts, as the original did.
	PoolPaysFee bool
	// MinConf is how deep the coins that are spent must be; 1.
	MinConf int
	// ConfirmDepth is how deep a payment must be to be done with; 6. A transaction
	// that conflicts with it and is as deep has taken its place for good.
	ConfirmDepth int64
	// RebroadcastAfter is how long a payment may be in no block before it is handed
	// to the network again, at every run; 30 min. Negative: at once.
	RebroadcastAfter time.Duration
	// AbsentDelay and AbsentBlocks: a payment that the wallet may have made is
	// certainly absent when the wallet, asked twice that far apart, does not show
	// it, and that many blocks have come since the call. 10 min, which must exceed
	// the time-out of a call; 2 blocks. Negative: none.
	AbsentDelay  time.Duration
	AbsentBlocks int32
	// RetryMin and RetryMax bound the back-off after a failure, which doubles;
	// 1 min and 6 h.
	RetryMin, RetryMax time.Duration
	// Consolidate lets the wallet's smallest coins be joined where a payment is
	// refused and the wallet has many; see [Payer] on small coins.
	Consolidate bool
	// JoinFrom is how many coins are many, JoinCoins how many are joined at once;
	// MaxJoin, which is the most of the latter.
	JoinFrom, JoinCoins int
	// PassphraseFile holds the wallet's passphrase; empty: the wallet is open.
	PassphraseFile string
	// UnlockFor is for how long the wallet is opened for a call; 30 s.
	UnlockFor time.Duration

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
	Fail       *failpoint.Point // tests only
}

func (o PayerOptions) withDefaults() PayerOptions {
	setDefault(&o.Family, bbprpc.FamilyDash)
	setDefault(&o.Threshold, 10*chain.Coin)
	setDefault(&o.MinInterval, 12*time.Hour)
	setDefault(&o.MaxMiners, 2000)
	setDefault(&o.BatchSize, MaxBatch)
	setDefault(&o.MinConf, 1)
	setDefault(&o.ConfirmDepth, 6)
	setDefault(&o.RebroadcastAfter, 30*time.Minute)
	setDefault(&o.AbsentDelay, 10*time.Minute)
	setDefault(&o.AbsentBlocks, 2)
	setDefault(&o.RetryMin, time.Minute)
	setDefault(&o.RetryMax, 6*time.Hour)
	setDefault(&o.UnlockFor, 30*time.Second)
	setDefault(&o.JoinFrom, MaxJoin)
	setDefault(&o.JoinCoins, MaxJoin)
	o.JoinCoins = min(o.JoinCoins, MaxJoin)
	o.BatchSize = min(o.BatchSize, MaxBatch)
	o.MinInterval, o.AbsentDelay, o.AbsentBlocks = max(o.MinInterval, 0), max(o.AbsentDelay, 0), max(o.AbsentBlocks, 0)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}
