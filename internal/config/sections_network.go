package config

import "time"

// Network is one network that the pool serves.
type Network struct {
	// classic: the miner builds its own block and the pool gives out an address
	// and a target. template: the pool builds jobs from getblocktemplate.
	Mode string `toml:"mode" default:"classic" enum:"classic,template"`

	// The chain, which decides what its addresses look like. Empty means
	// BiblePay's chain of the network's name.
	Chain string `toml:"chain" enum:"biblepay-main,biblepay-test,biblepay-regtest,litecoin-regtest,bitcoin-regtest" example:"biblepay-main"`

	// Hash function of the block header. Classic networks are x11.
	Algorithm string `toml:"algorithm" default:"x11" enum:"x11,scrypt,sha256d"`

	// Address that blocks must pay: the pool's own, in the backend's wallet.
	PoolAddress string `toml:"pool_address" example:"B4T5ciTCkWauSqVAcVKy88ofjcSasUkSYU"`

	// Target that a share's proof must not exceed, 64 hex digits: the smaller, the
	// harder. Miners may have targets of their own (purepool admin miner set-target). Classic networks only.
	HashTarget Target `toml:"hash_target" example:"0000111100000000000000000000000000000000000000000000000000000000"`

	// Easiest target that the backend accepts for any miner, 64 hex digits: a
	// bound on what a broken frontend could give out. Must cover the miners' own
	// targets, and the old one for a day after hash_target was made harder. Empty means hash_target.
	EasiestHashTarget Target `toml:"easiest_hash_target"`

	// The pool's part of each block, an exact decimal number in quotes.
	FeePercent Percent `toml:"fee_percent" default:"0" example:"0"`

	// Least part of a coinbase's value that must pay the pool, in percent. The rest
	// is what the chain grants to others (masternodes, the foundation). Classic networks only.
	MinPoolPercent int `toml:"min_pool_percent" default:"25" min:"1" max:"100"`

	// Template networks: easiest difficulty that a share may claim; a bound on what
	// a broken frontend could give out. At most min_difficulty of every port, and
	// the old one for an hour after those were raised.
	EasiestDifficulty Difficulty `toml:"easiest_difficulty" default:"0.001"`

	// Template networks: the pool's name as it stands in its coinbases, at most 32
	// characters.
	CoinbaseTag string `toml:"coinbase_tag" default:"/purepool/"`

	// Template networks: the rules that getblocktemplate wants to hear. Empty means
	// those of the chain: none on BiblePay's, segwit on Bitcoin's, mweb and segwit on Litecoin's.
	TemplateRules []string `toml:"template_rules"`

	// Template networks: age at which a job is replaced by a fresh one of the same tip.
	JobRefresh time.Duration `toml:"job_refresh" default:"30s" min:"1s" max:"10m"`

	// Template networks: how long after its issue shares are taken for a job.
	JobLifetime time.Duration `toml:"job_lifetime" default:"1h" min:"1m" max:"1d"`

	// A coin daemon of this network, one table each, in order of preference:
	// the next one is asked when one is away. The first one's wallet is the pool's:
	// blocks and payments are its business alone. Backend only.
	Daemon []Daemon `toml:"daemon"`

	// How long a daemon may take to answer one call.
	DaemonTimeout time.Duration `toml:"daemon_timeout" default:"10s" min:"100ms" max:"10m"`

	// Most calls to one daemon at the same time.
	DaemonConcurrency int `toml:"daemon_concurrency" default:"8" min:"1" max:"1000"`

	// Most calls in one request to a daemon (a JSON-RPC batch).
	DaemonBatch int `toml:"daemon_batch" default:"64" min:"1" max:"1000"`

	// How the pool's blocks become balances.
	Settlement Settlement `toml:"settlement"`

	// How balances are paid.
	Payments Payments `toml:"payments"`
}

// Settlement says how blocks become balances.
type Settlement struct {
	// prop: every credited share since the pool's previous block. pplns: the last
	// shares, as many as make up a window. solo: the finder alone.
	Scheme string `toml:"scheme" default:"prop" enum:"prop,pplns,solo"`

	// The window of pplns: how many times the work that the network expects for
	// one block, a decimal number with at most three decimals, in quotes.
	PPLNSWindow Factor `toml:"pplns_window" default:"2" min:"0.001" max:"1000"`

	// Confirmations after which a block's round ends. Until then it is too likely
	// to be replaced.
	CloseDepth int `toml:"close_depth" default:"3" min:"1" max:"1000"`

	// How long the share that was a block may come after the block itself, before
	// its round ends without it.
	ShareGrace time.Duration `toml:"share_grace" default:"10m" max:"1d"`

	// Confirmations after which a block's reward is shared out. A coinbase can be
	// spent after 101 on BiblePay's chain.
	Confirmations int `toml:"confirmations" default:"101" min:"1" max:"100000"`

	// How old a block must be besides; the original waited "24h".
	MaturityTime time.Duration `toml:"maturity_time" default:"0s" max:"30d"`

	// Blocks at and above the height of a block that left the best chain before it
	// counts as orphaned.
	OrphanDepth int `toml:"orphan_depth" default:"6" min:"1" max:"1000"`

	// The first block that counts where the pool has seen none of this network
	// yet. 0 means the next one after the first start.
	StartHeight int `toml:"start_height" default:"0" min:"0" max:"2147483647"`
}

// Payments says how balances are paid.
type Payments struct {
	// Whether the wallet pays. Off, balances grow, and payments that are on their
	// way already are only followed: switch it on once purepool admin audit is clean.
	Enabled bool `toml:"enabled" default:"false"`

	// Balance from which on a miner is paid, in coins, an exact decimal number in
	// quotes. A miner may have one of its own (purepool admin miner set-payout).
	Threshold Coins `toml:"threshold" default:"10" min:"0.00000001" max:"92000000000"`

	// Least time between two payments to a miner.
	MinInterval time.Duration `toml:"min_interval" default:"12h" max:"365d"`

	// Time of day, UTC, from which on payments begin. From after to means over
	// midnight; the original paid from "18:00" to "24:00".
	WindowFrom DayTime `toml:"window_from" default:"00:00"`

	// Time of day, UTC, from which on no more payments begin.
	WindowTo DayTime `toml:"window_to" default:"24:00"`

	// What the daemon's sendmany looks like. Empty means as the chain has it: dash
	// for BiblePay's, bitcoin for Litecoin's and Bitcoin's.
	WalletFamily string `toml:"wallet_family" enum:"dash,bitcoin"`

	// Most miners who are planned in one run.
	MaxMiners int `toml:"max_miners" default:"2000" min:"1" max:"1000000"`

	// Most miners in one transaction.
	Batch int `toml:"batch" default:"500" min:"1" max:"500"`

	// Whether the network's fee comes out of the pool's fees. Otherwise it is taken
	// from the amounts, in equal parts.
	PoolPaysFee bool `toml:"pool_pays_fee" default:"false"`

	// Whether the wallet's smallest coins are joined, by a transaction to itself,
	// where a payment is refused and the wallet has 500 coins or more: a transaction
	// holds some 600. The pool pays for it.
	Consolidate bool `toml:"consolidate" default:"true"`

	// Confirmations of the coins that are spent.
	MinConfirmations int `toml:"min_confirmations" default:"1" min:"1" max:"100000"`

	// Confirmations after which a payment is done with. A transaction that
	// conflicts with it and is as deep has taken its place for good.
	ConfirmDepth int `toml:"confirm_depth" default:"6" min:"1" max:"100000"`

	// How long a payment may stand in no block before it is handed to the network
	// again.
	RebroadcastAfter time.Duration `toml:"rebroadcast_after" default:"30m" max:"30d"`

	// A payment to which the wallet gave no answer is sent again only where the
	// wallet does not show it for this long; longer than daemon_timeout.
	AbsentDelay time.Duration `toml:"absent_delay" default:"10m" min:"1s" max:"30d"`

	// … and this many blocks have come since.
	AbsentBlocks int `toml:"absent_blocks" default:"2" min:"0" max:"1000"`

	// First wait after a payment failed; it doubles up to retry_max.
	RetryMin time.Duration `toml:"retry_min" default:"1m" min:"1s" max:"30d"`

	// Longest wait after failures.
	RetryMax time.Duration `toml:"retry_max" default:"6h" min:"1s" max:"365d"`

	// File with the wallet's passphrase, one line. Read at each payment. Empty means
	// that the wallet is not encrypted. Backend only.
	PassphraseFile Path `toml:"passphrase_file" roles:"backend,admin"`

	// How long the wallet is opened for one payment.
	UnlockFor time.Duration `toml:"unlock_for" default:"30s" min:"1s" max:"10m"`
}

// Daemon is one coin daemon.
type Daemon struct {
	// JSON-RPC address, like "http://127.0.0.1:9998".
	URL string `toml:"url" example:"http://127.0.0.1:9998"`

	// RPC user (rpcuser of the daemon's configuration).
	User string `toml:"user" roles:"backend,admin"`

	// RPC password (rpcpassword of the daemon's configuration).
	Password Secret `toml:"password" roles:"backend,admin"`

	// The daemon's cookie file, instead of user and password. Read again when
	// the daemon has restarted.
	CookieFile Path `toml:"cookie_file" roles:"backend,admin" example:"/var/lib/biblepay/.biblepaycore/.cookie"`

	// Where the daemon publishes its new blocks (its -zmqpubhashblock): they are
	// then heard of at once. Without it, by long polling and polling.
	ZMQHashBlock []string `toml:"zmq_hashblock" example:"tcp://127.0.0.1:28332"`
}
