package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/lib/pq"

	"purepool/pool/chain"
)

// check looks for contradictions, and for what the role needs and lacks.
func (l *loader) check() {
	l.checkQueue()
	l.checkFrontend()
	l.checkWeb()
	l.checkBackend()
	for _, name := range slices.Sorted(maps.Keys(l.cfg.Network)) {
		l.checkNetwork(join("network", name), name, l.cfg.Network[name])
	}
	l.checkListeners()
	l.checkMetricsAddress()
	l.checkNeeds()
}

// given reports whether a key was set by the file or the environment.
func (l *loader) given(path string) bool {
	_, ok := l.origins[path]
	return ok
}

// serves reports whether the role plays one of the parts.
func (l *loader) serves(parts ...Role) bool {
	return slices.Contains(parts, l.role) || (l.role == RoleAll && !slices.Equal(parts, []Role{RoleMigrate}))
}

// checkNeeds names what the role cannot do without.
func (l *loader) checkNeeds() {
	db := &l.cfg.Database
	for _, need := range []struct {
		key   string
		value Secret
		roles []Role
	}{
		{"database.frontend_dsn", db.FrontendDSN, []Role{RoleFrontend}},
		{"database.backend_dsn", db.BackendDSN, []Role{RoleBackend}},
		{"database.owner_dsn", db.OwnerDSN, []Role{RoleMigrate}},
	} {
		if !need.value.IsSet() {
			if l.serves(need.roles...) {
				l.fault(need.key, "missing: the %s needs it", l.role)
			}
			continue
		}
		if need.value.Value() != "" {
			l.checkDSN(need.key, need.value.Value())
		}
	}
	if l.cfg.Database.WebDSN.Value() != "" {
		l.checkDSN("database.web_dsn", db.WebDSN.Value())
	}
	if l.serves(RoleFrontend, RoleBackend) {
		if l.cfg.Queue.URL == "" {
			l.fault("queue.url", "missing: the %s needs it", l.role)
		}
		if len(l.cfg.Network) == 0 {
			l.fault("network", "missing: the %s serves no network, say which with a table like [network.main]", l.role)
		}
	}
	if l.serves(RoleFrontend) && len(l.cfg.Frontend.HTTP) == 0 {
		l.fault("frontend.http", "missing: the %s listens nowhere, say where with a table [[frontend.http]]", l.role)
	}
	if l.role == RoleWeb && l.cfg.Web.Listen == "" {
		l.fault("web.listen", "missing: the web role needs it")
	}
}

func (l *loader) checkDSN(key, dsn string) {
	if _, err := pq.NewConfig(dsn); err != nil {
		// The error of a URL repeats it, and the password with it.
		var bad *url.Error
		if errors.As(err, &bad) {
			err = bad.Err
		}
		l.fault(key, "no connection that Postgres understands: %v", err)
		return
	}
	if !strings.Contains(dsn, "sslmode=") && os.Getenv("PGSSLMODE") == "" {
		l.fault(key, "says no sslmode, and a guess could send passwords in the clear: add sslmode=verify-full, or sslmode=disable for a socket or loopback")
	}
}

// DSNPassword returns the password in a connection string, empty where there is none.
func DSNPassword(dsn string) string {
	c, err := pq.NewConfig(dsn)
	if err != nil {
		return ""
	}
	return c.Password
}

// queueSchemes are the brokers that a URL can choose.
var queueSchemes = []string{"embedded", "nats", "tls", "amqp", "amqps"}

func (l *loader) checkQueue() {
	q := &l.cfg.Queue
	scheme, rest, ok := strings.Cut(q.URL, ":")
	switch {
	case q.URL == "":
		return
	case !ok || !slices.Contains(queueSchemes, scheme):
		l.fault("queue.url", "%q chooses no broker: it begins with %s", clip(q.URL), enumWords(queueSchemes)+", and a colon")
		return
	case rest == "" || (scheme != "embedded" && strings.Trim(rest, "/") == ""):
		l.fault("queue.url", "names no place after %q", scheme+":")
		return
	}
	embedded := scheme == "embedded"
	if embedded && (l.role == RoleFrontend || l.role == RoleBackend) {
		l.fault("queue.url", "the embedded broker lives inside one process, and a lone %s could not share it: use nats:// or amqp://, or the role all", l.role)
	}
	if !embedded && q.SpoolDir == "" && l.serves(RoleFrontend) {
		l.warning("queue.spool_dir", "not given: shares are refused while the broker is away")
	}
	for _, tls := range []struct {
		key   string
		value Path
	}{{"ca_file", q.CAFile}, {"cert_file", q.CertFile}, {"key_file", q.KeyFile}} {
		if tls.value != "" && (scheme == "nats" || scheme == "amqp" || embedded) {
			l.fault(join("queue", tls.key), "the URL chooses a broker without TLS (%s:), so this file would not be used", scheme)
		}
	}
	if (q.CertFile == "") != (q.KeyFile == "") {
		l.fault("queue.cert_file", "cert_file and key_file go together")
	}
	if q.CredentialsFile != "" && (q.User != "" || q.Password.IsSet()) {
		l.fault("queue.credentials_file", "credentials_file and user and password are both given, only one can be meant")
	}
	if q.CredentialsFile != "" && scheme != "nats" && scheme != "tls" {
		l.fault("queue.credentials_file", "is for NATS, and the URL chooses %s:", scheme)
	}
	if q.Password.IsSet() && q.User == "" {
		l.fault("queue.password", "a password without a user")
	}
}

func (l *loader) checkFrontend() {
	f := &l.cfg.Frontend
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
	if strings.Trim(f.ID, letters) != "" || len(f.ID) > 32 {
		l.fault("frontend.id", "%q is no id: letters, digits and hyphens, at most 32", clip(f.ID))
	}
	if f.MaxConnectionsPerIP > f.MaxConnections && l.given("frontend.max_connections_per_ip") {
		l.fault("frontend.max_connections_per_ip", "%d is more than max_connections, which is %d", f.MaxConnectionsPerIP, f.MaxConnections)
	}
	// A value of full length is held up to three times for a moment, with the other headers.
	if least := 3 * (f.MaxHeaderBytes + 64<<10); f.MemoryBudget < least {
		l.fault("frontend.memory_budget", "%v is less than one request of max_header_bytes needs, %v", f.MemoryBudget, least)
	}
	secure := false
	for i := range f.HTTP {
		at := fmt.Sprintf("frontend.http[%d]", i)
		if f.HTTP[i].Listen == "" {
			l.fault(join(at, "listen"), "missing: where does it listen?")
		}
		if f.HTTP[i].ProxyProtocol && len(f.TrustedProxies) == 0 {
			l.fault(join(at, "proxy_protocol"), "needs trusted_proxies: from anybody else the header is not believed")
		}
		if f.HTTP[i].TLS && !secure {
			secure = true
			l.checkTLS(join(at, "tls"), &f.TLS)
		}
	}
	for i := range f.Stratum {
		l.checkStratum(fmt.Sprintf("frontend.stratum[%d]", i), &f.Stratum[i])
	}
}

func (l *loader) checkWeb() {
	w := &l.cfg.Web
	if _, ok := l.cfg.Network[w.DefaultNetwork]; w.DefaultNetwork != "" && !ok {
		l.fault("web.default_network", "there is no [network.%s]", clip(w.DefaultNetwork))
	}
	for i, e := range w.Endpoint {
		at := fmt.Sprintf("web.endpoint[%d]", i)
		u, err := url.Parse(e.URL)
		kinds := []string{"http", "https", "stratum+tcp", "stratum+ssl"}
		if err != nil || !slices.Contains(kinds, u.Scheme) || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
			l.fault(join(at, "url"), `%q is no address of miners, like "stratum+tcp://pool.example.org:3333"`, clip(e.URL))
		} else if u.Port() == "" && strings.HasPrefix(u.Scheme, "stratum") {
			l.fault(join(at, "url"), "%q has no port", clip(e.URL))
		}
		if _, ok := l.cfg.Network[e.Network]; !ok {
			l.fault(join(at, "network"), "there is no [network.%s]", clip(e.Network))
		}
	}
}

func (l *loader) checkStratum(at string, p *StratumPort) {
	f := &l.cfg.Frontend
	if p.Listen == "" {
		l.fault(join(at, "listen"), "missing: where does it listen?")
	}
	if _, ok := l.cfg.Network[p.Network]; !ok {
		l.fault(join(at, "network"), "there is no [network.%s]", clip(p.Network))
	}
	if p.TLS && (f.TLS.CertFile == "" || f.TLS.KeyFile == "") {
		l.fault(join(at, "tls"), "needs cert_file and key_file in [frontend.tls]")
	}
	if p.ProxyProtocol && len(f.TrustedProxies) == 0 {
		l.fault(join(at, "proxy_protocol"), "needs trusted_proxies: from anybody else the header is not believed")
	}
}

func (l *loader) checkTLS(wanted string, t *TLS) {
	const at = "frontend.tls"
	files, acme := t.CertFile != "" || t.KeyFile != "", len(t.ACMEHosts) > 0
	switch {
	case !files && !acme:
		l.fault(wanted, "needs a certificate: cert_file and key_file, or acme_hosts, in [%s]", at)
	case files && acme:
		l.fault(join(at, "acme_hosts"), "certificate files and ACME are both given, only one can be meant")
	case files && (t.CertFile == "" || t.KeyFile == ""):
		l.fault(at, "cert_file and key_file go together")
	}
	if u, err := url.Parse(t.ACMEDirectory); t.ACMEDirectory != "" && (err != nil || u.Scheme != "https") {
		l.fault(join(at, "acme_directory"), "wants an https:// URL")
	}
}

func (l *loader) checkBackend() {
	b := &l.cfg.Backend
	if b.RetryMin > b.RetryMax {
		l.fault("backend.retry_min", "%s is longer than retry_max, %s", formatDuration(b.RetryMin), formatDuration(b.RetryMax))
	}
	if b.KeepWork < b.KeepShares {
		l.fault("backend.keep_work", "%s is shorter than keep_shares, %s: a share's work must outlive it",
			formatDuration(b.KeepWork), formatDuration(b.KeepShares))
	}
	if b.KeepWork < l.cfg.Frontend.WorkLifetime {
		l.fault("backend.keep_work", "%s is shorter than the frontend's work_lifetime, %s",
			formatDuration(b.KeepWork), formatDuration(l.cfg.Frontend.WorkLifetime))
	}
}

// ChainOf returns the chain of a network: the one it names, else BiblePay's of
// the network's name.
func (n *Network) ChainOf(name string) (chain.Network, error) {
	var c chain.Network
	switch n.Chain {
	case "biblepay-main":
		c = chain.BiblePayMain()
	case "biblepay-test":
		c = chain.BiblePayTest()
	case "biblepay-regtest":
		c = chain.BiblePayRegtest()
	case "litecoin-regtest":
		c = chain.LitecoinRegtest()
	case "bitcoin-regtest":
		c = chain.BitcoinRegtest()
	default:
		return chain.NetworkByName(name)
	}
	c.Name = name
	return c, nil
}

// exampleAddress is the pool address of the example, whose coins nobody can spend.
const exampleAddress = "B4T5ciTCkWauSqVAcVKy88ofjcSasUkSYU"

func (l *loader) checkNetwork(at, name string, n *Network) {
	if n.Chain == "" {
		if _, err := chain.NetworkByName(name); err != nil {
			l.fault(join(at, "chain"), "missing: %q is no network of BiblePay, so its chain must be named", name)
			return
		}
	}
	c, err := n.ChainOf(name)
	if err != nil {
		return // an unknown name of a chain was reported as it was read
	}
	switch {
	case n.PoolAddress == exampleAddress:
		l.warning(join(at, "pool_address"), "this is the example's address, whose coins nobody can ever spend: put the pool's own")
	case n.PoolAddress != "":
		if _, err := chain.DecodeAddress(n.PoolAddress, c); err != nil {
			l.fault(join(at, "pool_address"), "%v", err)
		}
	case l.serves(RoleFrontend, RoleBackend):
		l.fault(join(at, "pool_address"), "missing: the %s needs it", l.role)
	}
	switch n.Mode {
	case "classic":
		l.checkClassic(at, n)
	case "template":
		for _, key := range []string{"hash_target", "easiest_hash_target"} {
			if l.given(join(at, key)) {
				l.fault(join(at, key), `is for classic networks, and this one has mode = "template"`)
			}
		}
		l.checkTemplate(at, name, n)
	}
	l.checkDaemons(at, name, n)
	l.checkSettlement(at, name, n)
}

func (l *loader) checkClassic(at string, n *Network) {
	if n.Algorithm != "x11" {
		l.fault(join(at, "algorithm"), "classic blocks are x11, %s is for template networks", n.Algorithm)
	}
	if n.HashTarget == (Target{}) {
		if !l.given(join(at, "hash_target")) && l.serves(RoleFrontend, RoleBackend) {
			l.fault(join(at, "hash_target"), "missing: a classic network needs it")
		}
		return
	}
	if easiest := n.EasiestHashTarget; easiest != (Target{}) && bytes.Compare(easiest[:], n.HashTarget[:]) < 0 {
		l.fault(join(at, "easiest_hash_target"), "is harder (smaller) than hash_target, so no ordinary share would be accepted")
	}
}

func (l *loader) checkDaemons(at, name string, n *Network) {
	if len(n.Daemon) == 0 && l.serves(RoleBackend) {
		l.fault(join(at, "daemon"), "missing: network %s has no daemon, and the %s cannot judge a share without one: add a table [[network.%s.daemon]]",
			name, l.role, name)
	}
	for i := range n.Daemon {
		d, at := &n.Daemon[i], fmt.Sprintf("%s.daemon[%d]", at, i)
		u, err := url.Parse(d.URL)
		switch {
		case d.URL == "":
			l.fault(join(at, "url"), "missing: where is the daemon?")
		case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
			l.fault(join(at, "url"), `is no address like "http://127.0.0.1:9998"`)
		case u.User != nil:
			l.fault(join(at, "url"), "holds a user or password, which belong in user and password")
		}
		switch {
		case d.CookieFile != "" && (d.User != "" || d.Password.IsSet()):
			l.fault(join(at, "cookie_file"), "cookie_file and user and password are both given, only one can be meant")
		case (d.User == "") != !d.Password.IsSet():
			l.fault(at, "user and password go together")
		case d.CookieFile == "" && d.User == "" && l.serves(RoleBackend):
			l.warning(at, "neither user and password nor cookie_file: daemons as a rule want one")
		}
		l.checkForeignFile(join(at, "cookie_file"), d.CookieFile, "the daemon")
		for _, address := range d.ZMQHashBlock {
			rest, ok := strings.CutPrefix(address, "tcp://")
			if host, port, err := net.SplitHostPort(rest); !ok || err != nil || host == "" || host == "*" || port == "" {
				l.fault(join(at, "zmq_hashblock"), `%q is no address like "tcp://127.0.0.1:28332"`, address)
			}
		}
	}
}

// checkListeners looks at every address to listen on, and for two of one process
// on the same.
func (l *loader) checkListeners() {
	type listener struct {
		key, address string
		ours         bool
	}
	h := &l.cfg.Health
	all := []listener{
		{"health.frontend_listen", h.FrontendListen, l.serves(RoleFrontend)},
		{"health.backend_listen", h.BackendListen, l.role == RoleBackend},
		{"health.web_listen", h.WebListen, l.role == RoleWeb},
		{"web.listen", l.cfg.Web.Listen, l.serves(RoleWeb)},
	}
	for i := range l.cfg.Frontend.HTTP {
		all = append(all, listener{
			fmt.Sprintf("frontend.http[%d].listen", i), l.cfg.Frontend.HTTP[i].Listen,
			l.serves(RoleFrontend) || l.role == RoleAny,
		})
	}
	taken := make(map[string]string)
	for _, at := range all {
		if at.address == "" {
			continue
		}
		host, port, err := net.SplitHostPort(at.address)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil {
			l.fault(at.key, `%q is no address and port, like "127.0.0.1:8080", "[::]:443" or ":80"`, clip(at.address))
			continue
		}
		if strings.HasPrefix(at.key, "health.") && !isLoopback(host) && at.ours {
			l.warning(at.key, "%s can be reached from other machines: metrics are not for everybody", at.address)
		}
		if other := taken[at.address]; other != "" && at.ours && port != "0" {
			l.fault(at.key, "%s is taken by %s", at.address, other)
		} else if at.ours {
			taken[at.address] = at.key
		}
	}
}

// checkMetricsAddress looks at the second listener of the metrics, which has the
// first one's port.
func (l *loader) checkMetricsAddress() {
	const key = "health.metrics_address"
	address := l.cfg.Health.MetricsAddress
	if address == "" {
		return
	}
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.IsUnspecified() {
		l.fault(key, `%q is no IP address of a machine, like "10.77.0.4"`, clip(address))
		return
	}
	if !l.serves(RoleFrontend) && l.role != RoleBackend && l.role != RoleWeb {
		return
	}
	first := l.cfg.Health.Listen(l.role)
	if first == "" {
		l.fault(key, "there is no health listener, whose port it would have")
		return
	}
	host, _, err := net.SplitHostPort(first)
	if err != nil {
		return // checkListeners says so
	}
	if at, err := netip.ParseAddr(host); host == "" || err == nil && (at.IsUnspecified() || at == ip) {
		l.fault(key, "the health listener, %s, answers there already", first)
	}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// clip bounds what a message repeats of its input.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
