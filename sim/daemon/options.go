package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"purepool/pool/chain"
	"purepool/pool/pow"
)

// Options are the settings of a simulated daemon. The zero value of a field means
// the default named beside it.
type Options struct {
	// Listen is the TCP address of the RPC server (127.0.0.1:0, a free port).
	Listen string
	// AdminListen is the address of a second server with the same calls, on which no
	// fault acts: from there a daemon that is away is brought back. Empty: none.
	AdminListen string
	// User and Password are asked for by basic authentication ("purepool",
	// "purepool").
	User, Password string

	// Network is main, test or regtest (regtest).
	Network string
	// PoolAddress is the one address of the daemon's wallet (an address made of the
	// seed, see [Daemon.PoolAddress]).
	PoolAddress string
	// Funds is what the wallet owns beside its coinbases, in satoshis (0).
	Funds int64
	// TxFee is the network fee of a payment, in satoshis (10,000).
	TxFee int64

	// StandAtRecorded puts the chain where the recorded solution of 2018 can be
	// judged: test net, height 19309, with the previous hash, time and bits of the
	// recording and its pool's address. Strangers find no blocks then. It overrides
	// the fields that it concerns.
	StandAtRecorded bool

	// BaseHeight is the height of the first block that the daemon knows (0).
	BaseHeight int64
	// BaseTime is that block's time (an hour before Now).
	BaseTime time.Time
	// BaseHash is that block's hash (that of a made-up header).
	BaseHash chain.Hash
	// History is the number of strangers' blocks that follow the first one at
	// start, at BlockInterval, or two minutes, from each other (0).
	History int
	// BlockInterval is the mean time between two blocks of strangers. 0: they find
	// none, and the chain grows by [Daemon.MineStranger] and submitted blocks alone.
	BlockInterval time.Duration
	// Bits is the compact form of the target that a block's BibleHash must meet
	// (0x1f00ffff: 65,536 hashes on average).
	Bits uint32
	// Subsidy is what a coinbase may claim, in satoshis (5,492 coins).
	Subsidy int64
	// Maturity is the number of blocks that must follow a coinbase before the
	// wallet can spend it (100).
	Maturity int64

	// CPID is how CPID signatures are judged.
	CPID CPIDMode
	// RequireCoinbase makes hexblocktocoinbase refuse (-22) a transaction that is
	// not the block's coinbase. The real daemon does not look at its second
	// argument at all, so a pool must not lean on this.
	RequireCoinbase bool
	// Instant leaves the X11 and so the biblehash out of hexblocktocoinbase (it is
	// zero then), which is most of that call's time, for benchmarks of what asks.
	Instant bool

	// Journal is a file in which chain and wallet are kept over restarts (none). What
	// stands in it takes the place of the options that say how a chain begins.
	Journal string

	// Faults act from the start, see [Daemon.SetFaults].
	Faults []Fault
	// Seed makes everything random in the simulation repeatable (0 is a seed like
	// any other).
	Seed uint64
	// Now is the daemon's clock (time.Now).
	Now func() time.Time
	// Logger gets the daemon's log (discarded).
	Logger *slog.Logger
}

// Bounds of the options.
const (
	maxHistory  = 100_000
	minInterval = 10 * time.Millisecond
)

// withDefaults returns the options filled in, or what is wrong with them.
func (o Options) withDefaults() (Options, chain.Network, error) {
	setDefault(&o.Listen, "127.0.0.1:0")
	setDefault(&o.User, "purepool")
	setDefault(&o.Password, "purepool")
	setDefault(&o.Network, "regtest")
	setDefault(&o.TxFee, 10_000)
	setDefault(&o.Bits, 0x1f00ffff)
	setDefault(&o.Subsidy, 5492*chain.Coin)
	setDefault(&o.Maturity, 100)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.StandAtRecorded {
		r := Recorded()
		o.Network, o.PoolAddress = "test", r.Recipient
		o.BaseHeight, o.BaseHash, o.BaseTime = r.Input.PrevHeight, r.PrevHash, time.Unix(r.Input.PrevBlockTime, 0)
		o.Bits, o.Subsidy = r.Bits, r.Satoshis
		o.History, o.BlockInterval = 0, 0
	}
	if o.BaseTime.IsZero() {
		o.BaseTime = o.Now().Add(-time.Hour - time.Duration(o.History)*o.spacing())
	}
	network, err := o.check()
	return o, network, err
}

func (o *Options) check() (chain.Network, error) {
	var errs []error
	network, err := chain.NetworkByName(o.Network)
	errs = append(errs, err)
	if o.PoolAddress != "" && err == nil {
		_, err := chain.DecodeAddress(o.PoolAddress, network)
		errs = append(errs, err)
	}
	if _, err := pow.TargetFromCompact(o.Bits); err != nil {
		errs = append(errs, fmt.Errorf("block bits %08x: %w", o.Bits, err))
	}
	check := func(ok bool, text string) {
		if !ok {
			errs = append(errs, errors.New(text))
		}
	}
	check(o.Funds >= 0 && o.Funds <= chain.MaxMoney, "funds out of range")
	check(o.TxFee >= 0 && o.TxFee <= chain.Coin, "network fee out of range")
	check(o.Subsidy > 0 && o.Subsidy <= chain.MaxMoney, "subsidy out of range")
	check(o.Maturity >= 0, "maturity is negative")
	check(o.BaseHeight >= 0 && o.BaseHeight < 1<<30, "base height out of range")
	check(o.BaseTime.Unix() > 0 && o.BaseTime.Unix() < 1<<32, "base time out of range")
	check(o.History >= 0 && o.History <= maxHistory, "history out of range")
	check(o.BlockInterval == 0 || o.BlockInterval >= minInterval, "block interval is below 10 ms")
	switch o.CPID {
	case CPIDCheck, CPIDOutdated, CPIDInvalid, CPIDIllegal:
	default:
		check(false, "unknown CPID mode "+string(o.CPID))
	}
	for i := range o.Faults {
		errs = append(errs, o.Faults[i].check())
	}
	if err := errors.Join(errs...); err != nil {
		return network, fmt.Errorf("simulated daemon: %w", err)
	}
	return network, nil
}

// spacing is the time between the blocks of the history.
func (o *Options) spacing() time.Duration {
	if o.BlockInterval >= time.Second {
		return o.BlockInterval
	}
	return 2 * time.Minute
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
