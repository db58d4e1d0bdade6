package config

import (
	"net/netip"
	"time"
)

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

	// Most open connections in all, over HTTP and over Stratum each.
	MaxConnections int `toml:"max_connections" default:"10000" min:"1" max:"1000000"`

	// Most open connections from one IP address (IPv6: one /64), over HTTP and over
	// Stratum each.
	MaxConnectionsPerIP int `toml:"max_connections_per_ip" default:"256" min:"1" max:"1000000"`

	// Most requests a second from one IP address, over a while. Each request of
	// the classic protocol is a connection of its own; over Stratum connections are counted, with
	// ten seconds' worth at once.
	RequestsPerSecondPerIP int `toml:"requests_per_second_per_ip" default:"50" min:"1" max:"1000000"`

	// Requests over HTTP that one IP address may make at once above that rate.
	BurstPerIP int `toml:"burst_per_ip" default:"500" min:"1" max:"1000000"`

	// Bytes a second that one IP address may send over Stratum in lines beyond 64 KiB,
	// and four times as much at once; who sends more is disconnected. Only solutions of
	// classic networks are that long, up to 8 MiB.
	LongLineRate Bytes `toml:"long_line_rate" default:"8MiB" min:"3MiB" max:"1GiB"`

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

	// Whether connections from trusted_proxies begin with a PROXY protocol header,
	// version 1 or 2, as HAProxy sends it.
	ProxyProtocol bool `toml:"proxy_protocol" default:"false"`
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
