package config

import (
	"net/netip"
	"time"
)

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
