package config

import (
	"cmp"
	"time"
)

// The comments on the fields here and in the other files sections_*.go are the
// documentation of the keys: the example, docs/CONFIGURATION.md and the error
// messages are made of them. What a key means, its unit and its default stand
// here and nowhere else.
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
	// The least important events that are logged. Can be changed while a process
	// runs, until it ends or is told to read its configuration again: purepool admin log-level.
	Level string `toml:"level" default:"info" enum:"debug,info,warn,error"`

	// The frontend's own level. Empty means level; so for the two below.
	FrontendLevel string `toml:"frontend_level" enum:"debug,info,warn,error"`

	// The backend's own level.
	BackendLevel string `toml:"backend_level" enum:"debug,info,warn,error"`

	// The web role's own level.
	WebLevel string `toml:"web_level" enum:"debug,info,warn,error"`

	// text for people, json for machines.
	Format string `toml:"format" default:"text" enum:"text,json"`

	// Whether addresses are shortened in lines of level info and above: a miner's
	// to its ends (yXXXX…abcd), public IP addresses to their network
	// (203.0.113.0/24). Lines of level debug name them in full.
	Privacy bool `toml:"privacy" default:"true"`
}

// RoleLevels returns the level of each role that can have one of its own.
func (l Log) RoleLevels() map[Role]string {
	return map[Role]string{
		RoleFrontend: cmp.Or(l.FrontendLevel, l.Level),
		RoleBackend:  cmp.Or(l.BackendLevel, l.Level),
		RoleWeb:      cmp.Or(l.WebLevel, l.Level),
	}
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

// Health says where each role can be asked how it is.
type Health struct {
	// Listener of the frontend, and of the role all. Empty means none.
	FrontendListen string `toml:"frontend_listen" default:"127.0.0.1:9101"`

	// Listener of the backend. Empty means none.
	BackendListen string `toml:"backend_listen" default:"127.0.0.1:9102"`

	// Listener of the web role. Empty means none.
	WebListen string `toml:"web_listen" default:"127.0.0.1:9103"`

	// IP address of this machine, like "10.77.0.4", at which /metrics and nothing else is answered too,
	// at the port of the role's listener: for a Prometheus on another machine. Empty means none.
	MetricsAddress string `toml:"metrics_address"`
}

// Listen is the listener of a role; empty where it has none.
func (h *Health) Listen(role Role) string {
	switch role {
	case RoleBackend:
		return h.BackendListen
	case RoleWeb:
		return h.WebListen
	default:
		return h.FrontendListen
	}
}
