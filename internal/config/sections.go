package config

import (
	"net/netip"
	"time"
)

// The comments on the fields below are the documentation of the keys: the
// example, docs/CONFIGURATION.md and the error messages are made of them. What
// a key means, its unit and its default stand here and nowhere else.
//
// Tags:
//
//	toml     name of the key
//	default  value where the key is not given, in the form of an environment variable
//	example  value that the example sets; keys without one stand there as comments
//	enum     the values allowed
//	min,max  bounds of a number, duration or size
//	roles    the roles that use the key, for secrets: no other role may be able to read it

// Config is everything that a purepool process can be told.
type Config struct {
	// What is logged. Logs go to standard error.
	Log Log `toml:"log"`

	// How each role reaches Postgres. Every role logs in as its own Postgres role,
	// which may do no more than its part (docs/ARCHITECTURE.md); `purepool migrate` makes these roles.
	Database Database `toml:"database"`

	// The durable queue that carries shares from the frontends to the backend.
	Queue Queue `toml:"queue"`

	// The role that faces the miners. It holds no secret but its own database
	// and queue credentials.
	Frontend Frontend `toml:"frontend"`

	// The role that judges shares. The only one that talks to the coin daemons.
	Backend Backend `toml:"backend"`

	// The pages for users.
	Web Web `toml:"web"`

	// Health and metrics of each role over HTTP: /healthz (the process lives),
	// /readyz (it can do its job, with reasons where it cannot), /metrics (Prometheus).
	// For operators: keep these listeners away from the internet.
	Health Health `toml:"health"`

	// A network that the pool serves, one table each. On the wire a miner names
	// it in the NetworkID header: main, test or regtest.
	Network map[string]*Network `toml:"network" example:"main"`
}

// Log says what is logged.
type Log struct {
	// The least important events that are logged.
	Level string `toml:"level" default:"info" enum:"debug,info,warn,error"`

	// text for people, json for machines.
	Format string `toml:"format" default:"text" enum:"text,json"`
}

// Database says how each role reaches Postgres.
type Database struct {
	// Connection of the frontend: a postgres:// URL or key=value words. Say sslmode explicitly.
	FrontendDSN Secret `toml:"frontend_dsn" roles:"frontend,migrate" example:"postgres://purepool_frontend@/purepool?host=/run/postgresql&sslmode=disable"`

	// Connection of the backend, and of `purepool admin`.
	BackendDSN Secret `toml:"backend_dsn" roles:"backend,admin,migrate" example:"postgres://purepool_backend@/purepool?host=/run/postgresql&sslmode=disable"`

	// Connection of the web role.
	WebDSN Secret `toml:"web_dsn" roles:"web,migrate" example:"postgres://purepool_web@/purepool?host=/run/postgresql&sslmode=disable"`

	// Connection of the owner of the database, for `purepool migrate` only: it
	// makes tables and roles, so it must be allowed to. Passwords in the other
	// connections become those of their roles.
	OwnerDSN Secret `toml:"owner_dsn" roles:"migrate" example:"postgres://purepool_owner@/purepool?host=/run/postgresql&sslmode=disable"`

	// Most connections to Postgres that each role in a process keeps. The backend
	// keeps some more for its jobs: nine, and four for each network after the first.
	MaxConnections int `toml:"max_connections" default:"8" min:"2" max:"1000"`
}

// Queue says where shares wait.
type Queue struct {
	// The broker:
	//   embedded:FOLDER          NATS JetStream inside the process, kept in this folder (role all only)
	//   nats://host:4222[,…]     NATS JetStream; tls://host:4222 over TLS
	//   amqp://host:5672/vhost   RabbitMQ; amqps://host:5671/vhost over TLS
	URL string `toml:"url" example:"embedded:/var/lib/purepool/queue"`

	// User at the broker. The frontend's user may publish shares and not read
	// them, the backend's may read them (deploy/).
	User string `toml:"user"`

	// Password of that user.
	Password Secret `toml:"password" roles:"frontend,backend,admin"`

	// NATS credentials file (.creds) instead of user and password.
	CredentialsFile Path `toml:"credentials_file"`

	// Certificate authority that signed the broker's certificate, PEM. Empty
	// means the system's authorities.
	CAFile Path `toml:"ca_file"`

	// Client certificate for the broker, PEM.
	CertFile Path `toml:"cert_file"`

	// Key of the client certificate, PEM.
	KeyFile Path `toml:"key_file"`

	// Folder of the frontend's spool, where shares wait while the broker is away.
	// Empty means no spool: shares are refused meanwhile. Not needed with the embedded broker.
	SpoolDir Path `toml:"spool_dir" example:"/var/lib/purepool/spool"`

	// Most bytes that wait in the spool, over all networks. At the bound, shares are refused.
	SpoolMaxBytes Bytes `toml:"spool_max_bytes" default:"1GiB" min:"1MiB" max:"1TiB"`

	// Most bytes of shares that wait in memory.
	MemoryMaxBytes Bytes `toml:"memory_max_bytes" default:"64MiB" min:"8MiB" max:"16GiB"`

	// Most shares in one message to the broker.
	EnvelopeShares int `toml:"envelope_shares" default:"512" min:"1" max:"10000"`

	// Size at which a message to the broker is closed. A larger share travels alone.
	EnvelopeBytes Bytes `toml:"envelope_bytes" default:"1MiB" min:"4KiB" max:"8MiB"`

	// How long a message waits for more shares while another one is under way.
	Linger time.Duration `toml:"linger" default:"2ms" max:"1s"`

	// How long the broker may take to acknowledge before a message goes to the spool.
	Timeout time.Duration `toml:"timeout" default:"2s" min:"100ms" max:"1m"`

	// Most bytes that wait in the broker, per network. At the bound the broker
	// refuses new messages, which then wait in the spool.
	BrokerMaxBytes Bytes `toml:"broker_max_bytes" default:"4GiB" min:"16MiB" max:"10TiB"`

	// JetStream servers that keep each message. Needs a cluster where above 1.
	Replicas int `toml:"replicas" default:"1" min:"1" max:"5"`
}

// Frontend is the role that faces the miners.
type Frontend struct {
	// Name of this frontend, written on each share: letters, digits and hyphens.
	// Empty means the host's name. Must differ between frontends.
	ID string `toml:"id"`

	// A listener for miners over HTTP (Action.aspx), one table each.
	HTTP []HTTPListener `toml:"http"`

	// A port for miners over TCP (Stratum), one table each.
	Stratum []StratumPort `toml:"stratum"`

	// Number of this frontend, unique over all frontends that serve Stratum: it
	// keeps the search spaces of their miners apart.
	Number int `toml:"number" default:"1" min:"1" max:"65535"`

	// Proxies whose X-Forwarded-For is believed: addresses or networks like
	// "10.0.0.0/8". From everybody else the header is ignored.
	TrustedProxies []netip.Prefix `toml:"trusted_proxies"`

	// Most open connections in all.
	MaxConnections int `toml:"max_connections" default:"10000" min:"1" max:"1000000"`

	// Most open connections from one IP address (IPv6: one /64).
	MaxConnectionsPerIP int `toml:"max_connections_per_ip" default:"256" min:"1" max:"1000000"`

	// Most requests a second from one IP address, over a while. Each request of
	// the classic protocol is a connection of its own.
	RequestsPerSecondPerIP int `toml:"requests_per_second_per_ip" default:"50" min:"1" max:"1000000"`

	// Requests that one IP address may make at once above that rate.
	BurstPerIP int `toml:"burst_per_ip" default:"500" min:"1" max:"1000000"`

	// Longest value of one request header: a solution holds a whole block.
	MaxHeaderBytes Bytes `toml:"max_header_bytes" default:"8MiB" min:"64KiB" max:"64MiB"`

	// Memory for the large headers of all requests together, at least twice
	// max_header_bytes. A request that finds no room is answered that the pool is busy.
	MemoryBudget Bytes `toml:"memory_budget" default:"256MiB" min:"1MiB" max:"64GiB"`

	// From the connection to the first byte of the request.
	IdleTimeout time.Duration `toml:"idle_timeout" default:"10s" min:"100ms" max:"10m"`

	// How long a client may take to send its request, besides the time that its
	// bytes take at min_rate.
	HeadTimeout time.Duration `toml:"head_timeout" default:"10s" min:"100ms" max:"10m"`

	// Bytes a second below which a client is too slow.
	MinRate Bytes `toml:"min_rate" default:"8KiB" min:"1B" max:"1GiB"`

	// How long a client may take to send its request in any case.
	MaxHeadTime time.Duration `toml:"max_head_time" default:"2m" min:"1s" max:"1h"`

	// How long the pool may take to answer before it gives a request up.
	RequestTimeout time.Duration `toml:"request_timeout" default:"30s" min:"1s" max:"10m"`

	// How long a client may take to read its answer.
	WriteTimeout time.Duration `toml:"write_timeout" default:"10s" min:"100ms" max:"10m"`

	// How long the database may take to answer before a request for work is
	// refused for now.
	StoreTimeout time.Duration `toml:"store_timeout" default:"5s" min:"100ms" max:"1m"`

	// How long shares are taken for a piece of work after it was given out. The
	// backend holds the frontends to it, so it must be the same there.
	WorkLifetime time.Duration `toml:"work_lifetime" default:"1d" min:"1m" max:"15d"`

	// How many pieces of work a worker is given in a minute; after that it gets its
	// newest work again, so that nobody fills the database by asking. A real client asks every three minutes.
	WorksPerMinute int `toml:"works_per_minute" default:"60" min:"1" max:"1000000"`

	// How long what is known of a miner is believed: a miner that is disabled is
	// refused within this time.
	MinerRecheck time.Duration `toml:"miner_recheck" default:"30s" min:"1s" max:"1m"`

	// How long requests under way may take to finish when the process is told to stop.
	DrainTimeout time.Duration `toml:"drain_timeout" default:"10s" min:"1s" max:"5m"`

	// Certificates of the listeners with tls = true: from files, or from an ACME
	// authority such as Let's Encrypt.
	TLS TLS `toml:"tls"`
}

// HTTPListener is one listener for miners over HTTP.
type HTTPListener struct {
	// Address and port, like "0.0.0.0:80", "[::]:443" or ":8080".
	Listen string `toml:"listen" example:"0.0.0.0:80"`

	// Whether it speaks TLS, with the certificates of [frontend.tls].
	TLS bool `toml:"tls" default:"false"`
}

// StratumPort is one port for miners over TCP.
type StratumPort struct {
	// Address and port, like "0.0.0.0:3333".
	Listen string `toml:"listen" example:"0.0.0.0:3333"`

	// The network that is mined on this port. Its mode decides what is spoken.
	Network string `toml:"network" example:"main"`

	// Whether it speaks TLS, with cert_file and key_file of [frontend.tls].
	TLS bool `toml:"tls" default:"false"`

	// Whether connections from trusted_proxies begin with a PROXY protocol header,
	// version 1 or 2, as HAProxy sends it.
	ProxyProtocol bool `toml:"proxy_protocol" default:"false"`

	// Difficulty of a worker of which nothing is known yet. Template networks only,
	// like the two below.
	StartDifficulty Difficulty `toml:"start_difficulty" default:"1"`

	// Least difficulty that a worker is given, whatever it asks for. At least the
	// network's easiest_difficulty.
	MinDifficulty Difficulty `toml:"min_difficulty" default:"0.001"`

	// Highest difficulty that a worker is given.
	MaxDifficulty Difficulty `toml:"max_difficulty" default:"1000000000000"`
}

// TLS says where certificates come from.
type TLS struct {
	// Certificate chain, PEM. Read again when it changes.
	CertFile Path `toml:"cert_file"`

	// Key of the certificate, PEM.
	KeyFile Path `toml:"key_file"`

	// Host names to get certificates for by ACME, instead of files. The authority
	// must reach port 443 of each at a listener of this frontend.
	ACMEHosts []string `toml:"acme_hosts"`

	// Mail address that the authority may write to.
	ACMEEmail string `toml:"acme_email"`

	// Folder in which certificates and the account's key are kept.
	ACMECache Path `toml:"acme_cache" default:"/var/lib/purepool/acme"`

	// Directory URL of the ACME authority. Empty means Let's Encrypt.
	ACMEDirectory string `toml:"acme_directory"`
}

// Backend is the role that judges shares.
type Backend struct {
	// Batches of shares of one network that are judged at the same time.
	ValidatorParallelism int `toml:"validator_parallelism" default:"4" min:"1" max:"256"`

	// Most shares in one batch: one request to the daemon, one database transaction.
	BatchShares int `toml:"batch_shares" default:"1000" min:"1" max:"100000"`

	// How many times a share is tried whose judging fails for reasons of its own
	// before it goes to the dead letters (purepool admin deadletter). What is away
	// is waited for, however long.
	DeadLetterAfter int `toml:"dead_letter_after" default:"8" min:"1" max:"1000"`

	// First wait after a daemon or the database did not answer; it doubles up to retry_max.
	RetryMin time.Duration `toml:"retry_min" default:"100ms" min:"10ms" max:"1m"`

	// Longest wait between tries.
	RetryMax time.Duration `toml:"retry_max" default:"10s" min:"100ms" max:"10m"`

	// How often the daemons are asked for the chain's tip.
	TipPollInterval time.Duration `toml:"tip_poll_interval" default:"1s" min:"100ms" max:"1m"`

	// How long after a new block shares for the one before are still taken:
	// neither clocks nor daemons agree to the second.
	ArrivalGrace time.Duration `toml:"arrival_grace" default:"15s" max:"10m"`

	// How far the clocks of frontends and daemons may be apart where the highest
	// nonce that the chain allows by now is concerned.
	NonceSlack time.Duration `toml:"nonce_slack" default:"2s" max:"10m"`

	// How long judged shares are kept.
	KeepShares time.Duration `toml:"keep_shares" default:"14d" min:"1d" max:"3650d"`

	// How long work is kept. At least as long as shares.
	KeepWork time.Duration `toml:"keep_work" default:"16d" min:"1d" max:"3650d"`

	// How long rejected shares are kept.
	KeepRejected time.Duration `toml:"keep_rejected" default:"3d" min:"1d" max:"3650d"`

	// How long the text of solutions is kept.
	KeepSolutions time.Duration `toml:"keep_solutions" default:"2d" min:"1d" max:"3650d"`

	// How long counts by minute are kept; those by hour and day stay.
	KeepMinutes time.Duration `toml:"keep_minutes" default:"8d" min:"1d" max:"3650d"`

	// How long it is remembered which block was the chain's tip when. At least
	// as long as work.
	KeepTips time.Duration `toml:"keep_tips" default:"17d" min:"1d" max:"3650d"`

	// How long the shares in hand may take to be written down when the process is told to stop.
	DrainTimeout time.Duration `toml:"drain_timeout" default:"15s" min:"1s" max:"5m"`

	// Folder for what must outlive this process whatever is away: the journal of
	// found blocks, and jobs that the database has not taken yet. This process's
	// own. Needed for template networks.
	StateDir Path `toml:"state_dir" default:"/var/lib/purepool/backend"`

	// How often the backend does what is to be done by itself. Each job runs in one
	// backend at a time (purepool admin schedule).
	Schedule Schedule `toml:"schedule"`
}

// Schedule says how often jobs run.
type Schedule struct {
	// watch: read the chain and write its blocks down. New blocks are looked for
	// at once where the tip changes or purepool admin notify-block is called.
	Watch time.Duration `toml:"watch" default:"10s" min:"100ms" max:"1h"`

	// close-rounds: end the rounds of the pool's blocks.
	CloseRounds time.Duration `toml:"close_rounds" default:"30s" min:"100ms" max:"1d"`

	// share-out: credit the rewards of mature blocks to the miners.
	ShareOut time.Duration `toml:"share_out" default:"1m" min:"100ms" max:"1d"`

	// pay: bring payments on their way one step further, and begin new ones.
	Pay time.Duration `toml:"pay" default:"2m" min:"100ms" max:"1d"`

	// roll-up: bring the counts by hour and day, which the pages read, up to date.
	RollUp time.Duration `toml:"roll_up" default:"30s" min:"100ms" max:"1h"`

	// rate: compare miners' shares with their blocks.
	Rate time.Duration `toml:"rate" default:"1h" min:"100ms" max:"7d"`

	// clean-up: drop what is older than the keep_… keys say.
	CleanUp time.Duration `toml:"clean_up" default:"1h" min:"1s" max:"7d"`

	// audit: prove the books. It reads all shares that are kept.
	Audit time.Duration `toml:"audit" default:"6h" min:"100ms" max:"30d"`
}

// Web is the role that shows pages.
type Web struct {
	// Address and port of the pages. Empty means that the role all serves none.
	Listen string `toml:"listen" example:"127.0.0.1:8081"`

	// The pool's name, as visitors read it.
	Title string `toml:"title" default:"Purepool"`

	// The network that is shown at /. Empty means main, or where that is not
	// served the first one by name.
	DefaultNetwork string `toml:"default_network"`

	// Host name where miners connect, for the lines that visitors copy. Empty means
	// the host under which they see the pages.
	MinerHost string `toml:"miner_host" example:"pool.example.org"`

	// Where miners connect, one table each, where that is not at the frontend's
	// listeners of this configuration.
	Endpoint []WebEndpoint `toml:"endpoint"`

	// Proxies whose X-Forwarded-For is believed: addresses or networks like
	// "10.0.0.0/8". From everybody else the header is ignored.
	TrustedProxies []netip.Prefix `toml:"trusted_proxies"`

	// Most requests a second from one IP address (IPv6: one /64), over a while.
	RequestsPerSecondPerIP int `toml:"requests_per_second_per_ip" default:"20" min:"1" max:"1000000"`

	// Requests that one IP address may make at once above that rate.
	BurstPerIP int `toml:"burst_per_ip" default:"200" min:"1" max:"1000000"`

	// Most visitors whose numbers move by themselves at the same time. Others ask
	// now and then.
	MaxListeners int `toml:"max_listeners" default:"2000" min:"1" max:"1000000"`

	// How long numbers are shown before the database is asked again. What moves
	// slowly is kept for a multiple of it.
	Fresh time.Duration `toml:"fresh" default:"3s" min:"100ms" max:"1m"`

	// How long the database may take before a page does without.
	StoreTimeout time.Duration `toml:"store_timeout" default:"4s" min:"100ms" max:"1m"`
}

// WebEndpoint is where miners connect, as visitors are told.
type WebEndpoint struct {
	// http://, https://, stratum+tcp:// or stratum+ssl://, with host and port.
	URL string `toml:"url" example:"stratum+tcp://pool.example.org:3333"`

	// The network that is mined there.
	Network string `toml:"network" example:"main"`

	// For whom it is, in a few words.
	Note string `toml:"note" example:"small rigs"`
}

// Health says where each role can be asked how it is.
type Health struct {
	// Listener of the frontend, and of the role all. Empty means none.
	FrontendListen string `toml:"frontend_listen" default:"127.0.0.1:9101"`

	// Listener of the backend. Empty means none.
	BackendListen string `toml:"backend_listen" default:"127.0.0.1:9102"`

	// Listener of the web role. Empty means none.
	WebListen string `toml:"web_listen" default:"127.0.0.1:9103"`
}

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
}
