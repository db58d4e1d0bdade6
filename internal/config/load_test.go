package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// write puts a configuration into a file that only its owner can read.
func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "purepool.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// complaints loads a text and returns its problems with the file's name left out.
func complaints(t testing.TB, text string, role Role, env ...string) []string {
	t.Helper()
	path := write(t, text)
	_, problems := Load(path, env, role)
	lines := make([]string, 0, len(problems))
	for _, p := range problems {
		lines = append(lines, strings.ReplaceAll(p.String(), path, "f"))
	}
	return lines
}

func wantComplaints(t *testing.T, got []string, want ...string) {
	t.Helper()
	if want == nil {
		want = []string{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

const target = "0000111100000000000000000000000000000000000000000000000000000000"

// classicAll is a small configuration that the role all starts with.
const classicAll = `
[database]
frontend_dsn = "postgres://f@/purepool?sslmode=disable"
backend_dsn = "postgres://b@/purepool?sslmode=disable"
[queue]
url = "embedded:/var/lib/purepool/queue"
[[frontend.http]]
listen = "127.0.0.1:8080"
[network.test]
pool_address = "yhVPf12UvK8zYgZwS6kLsPmtccHUQiD3Q9"
hash_target = "` + target + `"
[[network.test.daemon]]
url = "http://127.0.0.1:9998"
user = "rpc"
password = "secret"
`

func TestSmallConfigurationIsEnoughForTheRoleAll(t *testing.T) {
	path := write(t, classicAll)
	cfg, problems := Load(path, nil, RoleAll)
	if len(problems) > 0 {
		t.Fatalf("problems: %v", problems)
	}
	if got := cfg.Network["test"].Daemon[0].Password.Value(); got != "secret" {
		t.Errorf("password = %q", got)
	}
	if got := cfg.Backend.KeepShares; got != 14*24*time.Hour {
		t.Errorf("keep_shares = %v, the default is 14 days", got)
	}
	if got := cfg.Frontend.HTTP[0].TLS; got {
		t.Errorf("tls = %v, want the default of a table's element", got)
	}
	if got := cfg.Network["test"].DaemonTimeout; got != 10*time.Second {
		t.Errorf("daemon_timeout = %v, want the default of a named table", got)
	}
}

func TestEveryProblemIsNamedWithItsLine(t *testing.T) {
	got := complaints(t, `[log]
level = "verbose"
formt = "json"

[frontend]
max_connections = "many"
max_conections_per_ip = 3
head_timeout = 30
drain_timeout = "1 hour"
trusted_proxies = ["10.0.0.0/8", "10.0.0.1/8", 7]

[[frontend.http]]
listen = "127.0.0.1:80"
[[frontend.http]]
listen = "no port"
tls = true

[backend]
retry_min = "1m"
retry_max = "1s"
keep_shares = "20d"

[network.main]
mode = "classick"
fee_percent = 2.5
hash_target = "00ff"

[network.Main]
[wbe]
listen = ":1"
`, RoleAny)
	wantComplaints(
		t, got,
		`f:2: log.level: "verbose" is none of debug, info, warn and error`,
		`f:3: log.formt: unknown key, did you mean "format"?`,
		`f:6: frontend.max_connections: wants a whole number, this is the text "many"`,
		`f:7: frontend.max_conections_per_ip: unknown key, did you mean "max_connections_per_ip"?`,
		`f:8: frontend.head_timeout: wants a duration in quotes, like "30s", this is the number 30`,
		`f:9: frontend.drain_timeout: "1 hour" is no duration, write a number and a unit like "250ms", "30s", "5m", "1h30m" or "14d"`,
		`f:10: frontend.trusted_proxies[1]: "10.0.0.1/8" has bits beyond its length, the network is "10.0.0.0/8"`,
		`f:10: frontend.trusted_proxies[2]: wants an address or network in quotes, like "10.0.0.0/8", this is the number 7`,
		`f:15: frontend.http[1].listen: "no port" is no address and port, like "127.0.0.1:8080", "[::]:443" or ":80"`,
		`f:16: frontend.http[1].tls: needs a certificate: cert_file and key_file, or acme_hosts, in [frontend.tls]`,
		`f:18: backend.keep_work: 16d is shorter than keep_shares, 20d: a share's work must outlive it`,
		`f:19: backend.retry_min: 1m is longer than retry_max, 1s`,
		`f:24: network.main.mode: "classick" is none of classic and template, did you mean "classic"?`,
		`f:25: network.main.fee_percent: wants a percentage in quotes, like "2.5", this is the number 2.5`,
		`f:26: network.main.hash_target: a target is 64 hex digits, this has 4 characters`,
		`f:28: network.Main: a name is lower-case letters and digits, at most 16`,
		`f:29: wbe: unknown key, did you mean "web"?`,
	)
}

func TestWrongShapesAreRefusedWithAReason(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"truncated":          {"[log]\nlevel = \"in", `f:2: unexpected EOF; expected '"' (after the key "log.level")`},
		"duplicate key":      {"[log]\nlevel = \"info\"\nlevel = \"warn\"", `f:3: Key 'log.level' has already been defined. (after the key "log.level")`},
		"duplicate table":    {"[log]\n[web]\n[log]", `f:3: Key 'log' has already been defined.`},
		"hostile bytes":      {"[log]\n\xff\xfe\x00", `f:2: invalid UTF-8 byte: 0xff (after the key "log")`},
		"UTF-16":             {"\xff\xfe[\x00l\x00", `f:1: files cannot contain NULL bytes; probably using UTF-16; TOML files must be UTF-8`},
		"huge":               {strings.Repeat("# comment\n", 200_000), `f: the file is larger than 1MiB`},
		"deep list":          {"a = " + strings.Repeat("[", 100_000), `f:1: tables and lists are nested more than 16 deep`},
		"deep inline table":  {"x = 1\na = " + strings.Repeat("{a=", 100_000), `f:2: tables and lists are nested more than 16 deep`},
		"deep key":           {strings.Repeat("a.", 100_000) + "a = 1", `f:1: tables and lists are nested more than 16 deep`},
		"section is a value": {"log = 3", `f:1: log: wants a table: [log]`},
		"list is a table":    {"[frontend.http]\nlisten = ':80'", `f:1: frontend.http: wants tables with two brackets: [[frontend.http]]`},
		"network is a value": {"network = 'main'", `f:1: network: wants tables with names: [network.main]`},
		"one network":        {"[network]\nmain = 3", `f:2: network.main: wants a table: [network.main]`},
		"list of values":     {"[frontend]\nhttp = [1]", `f:2: frontend.http[0]: wants a table`},
		"date":               {"[web]\nlisten = 2018-01-01", `f:2: web.listen: wants text in quotes, this is a date or time`},
		"secret as number":   {"[queue]\nuser = 'u'\npassword = 12345", `f:3: queue.password: wants text in quotes`},
	} {
		t.Run(name, func(t *testing.T) {
			got := complaints(t, c.text, RoleAny)
			if len(got) == 0 || got[0] != c.want {
				t.Errorf("problems %q, want the first to be %q", got, c.want)
			}
		})
	}
}

func TestHarmlessShapesAreTaken(t *testing.T) {
	for name, text := range map[string]string{
		"empty":       "",
		"BOM":         "\ufeff[log]\nlevel = \"debug\"\n",
		"CRLF":        strings.ReplaceAll(classicAll, "\n", "\r\n"),
		"inline":      `frontend = {http = [{listen = ":80"}]}`,
		"quoted keys": "[\"log\"]\n'level' = \"debug\"\n",
		"comment":     "# only this",
	} {
		t.Run(name, func(t *testing.T) { wantComplaints(t, complaints(t, text, RoleAny)) })
	}
}

func TestLinesAreCountedInCRLFAndAfterABOM(t *testing.T) {
	wantComplaints(t, complaints(t, "\ufeff# x\r\n\r\n[log]\r\nnope = 1\r\n", RoleAny), `f:4: log.nope: unknown key`)
}

func TestMissingFileIsOneProblem(t *testing.T) {
	_, problems := Load("/nonexistent/purepool.toml", nil, RoleAll)
	if len(problems) != 1 || problems[0].String() != "/nonexistent/purepool.toml: no such file or directory" {
		t.Errorf("problems: %v", problems)
	}
}

func TestBackendWithoutADaemonIsNamed(t *testing.T) {
	text, _, _ := strings.Cut(classicAll, "[[network.test.daemon]]")
	wantComplaints(t, complaints(t, text, RoleAll),
		`f:9: network.test.daemon: missing: network test has no daemon, and the all cannot judge a share without one: add a table [[network.test.daemon]]`)
	wantComplaints(t, complaints(t, strings.Replace(text, "embedded:/var/lib/purepool/queue", "nats://h", 1), RoleFrontend),
		"f:5: warning: queue.spool_dir: not given: shares are refused while the broker is away")
}

func TestEachRoleIsToldWhatItLacks(t *testing.T) {
	for role, want := range map[Role][]string{
		RoleFrontend: {
			"f: database.frontend_dsn: missing: the frontend needs it",
			"f: frontend.http: missing: the frontend listens nowhere, say where with a table [[frontend.http]]",
			"f: network: missing: the frontend serves no network, say which with a table like [network.main]",
			"f: queue.url: missing: the frontend needs it",
		},
		RoleBackend: {
			"f: database.backend_dsn: missing: the backend needs it",
			"f: network: missing: the backend serves no network, say which with a table like [network.main]",
			"f: queue.url: missing: the backend needs it",
		},
		RoleWeb:     {"f: web.listen: missing: the web role needs it"},
		RoleMigrate: {"f: database.owner_dsn: missing: the migrate needs it"},
		RoleAdmin:   {},
	} {
		t.Run(string(role), func(t *testing.T) { wantComplaints(t, complaints(t, "", role), want...) })
	}
}

func TestContradictionsAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		role Role
		want string
	}{
		"embedded broker of a lone frontend": {
			"[queue]\nurl = 'embedded:/q'", RoleFrontend,
			`f:2: queue.url: the embedded broker lives inside one process, and a lone frontend could not share it: use nats:// or amqp://, or the role all`,
		},
		"unknown broker": {"[queue]\nurl = 'kafka://h'", RoleAny, `f:2: queue.url: "kafka://h" chooses no broker: it begins with embedded, nats, tls, amqp and amqps, and a colon`},
		"plain and CA":   {"[queue]\nurl = 'nats://h'\nca_file = '/ca'", RoleAny, `f:3: queue.ca_file: the URL chooses a broker without TLS (nats:), so this file would not be used`},
		"no sslmode": {
			"[database]\nweb_dsn = 'postgres://w@h/p'", RoleAny,
			`f:2: database.web_dsn: says no sslmode, and a guess could send passwords in the clear: add sslmode=verify-full, or sslmode=disable for a socket or loopback`,
		},
		"two credentials": {
			"[network.main]\n[[network.main.daemon]]\nurl='http://h'\nuser='u'\npassword='p'\ncookie_file='/c'", RoleAny,
			`f:6: network.main.daemon[0].cookie_file: cookie_file and user and password are both given, only one can be meant`,
		},
		"publisher nowhere": {
			"[network.main]\n[[network.main.daemon]]\nurl='http://h'\nzmq_hashblock=['tcp://h:1', 'h:1']", RoleAny,
			`f:4: network.main.daemon[0].zmq_hashblock: "h:1" is no address like "tcp://127.0.0.1:28332"`,
		},
		"password in the URL":  {"[network.main]\n[[network.main.daemon]]\nurl='http://u:p@h'", RoleAny, `f:3: network.main.daemon[0].url: holds a user or password, which belong in user and password`},
		"classic is x11":       {"[network.main]\nalgorithm='scrypt'", RoleAny, `f:2: network.main.algorithm: classic blocks are x11, scrypt is for template networks`},
		"address of the other": {"[network.main]\npool_address='yhVPf12UvK8zYgZwS6kLsPmtccHUQiD3Q9'", RoleAny, `f:2: network.main.pool_address: address yhVPf12UvK8zYgZwS6kLsPmtccHUQiD3Q9 is a test address, this is the main network of BiblePay`},
		"unknown chain":        {"[network.lite]\nalgorithm='scrypt'", RoleAny, `f:1: network.lite.chain: missing: "lite" is no network of BiblePay, so its chain must be named`},
		"easiest is harder":    {"[network.main]\nhash_target='" + target + "'\neasiest_hash_target='00" + target[:62] + "'", RoleAny, `f:3: network.main.easiest_hash_target: is harder (smaller) than hash_target, so no ordinary share would be accepted`},
		"both forms":           {"[queue]\nuser='u'\npassword='p'\npassword_file='/x'", RoleAny, `f:4: queue.password_file: queue.password and queue.password_file are both given, only one can be meant`},
		"same listener":        {"[[frontend.http]]\nlisten=':80'\n[[frontend.http]]\nlisten=':80'", RoleAny, `f:4: frontend.http[1].listen: :80 is taken by frontend.http[0].listen`},
		"half a certificate":   {"[[frontend.http]]\nlisten=':443'\ntls=true\n[frontend.tls]\ncert_file='c'", RoleAny, `f:4: frontend.tls: cert_file and key_file go together`},
		"files and ACME":       {"[[frontend.http]]\nlisten=':443'\ntls=true\n[frontend.tls]\ncert_file='c'\nkey_file='k'\nacme_hosts=['h']", RoleAny, `f:7: frontend.tls.acme_hosts: certificate files and ACME are both given, only one can be meant`},
		"memory":               {"[frontend]\nmemory_budget='16MiB'\nmax_header_bytes='32MiB'", RoleAny, `f:2: frontend.memory_budget: 16MiB is less than one request of max_header_bytes needs, 98496KiB`},
		"long lines":           {"[frontend]\nlong_line_rate='1MiB'", RoleAny, `f:2: frontend.long_line_rate: 1MiB is too small, the least is 3MiB`},
		"no rate":              {"[frontend]\nlong_line_rate='fast'", RoleAny, `f:2: frontend.long_line_rate: "fast" is no size, write a whole number and a unit like "8MiB"`},
		"metrics by name":      {"[health]\nmetrics_address='localhost'", RoleAny, `f:2: health.metrics_address: "localhost" is no IP address of a machine, like "10.77.0.4"`},
		"metrics everywhere":   {"[health]\nmetrics_address='::'", RoleAny, `f:2: health.metrics_address: "::" is no IP address of a machine, like "10.77.0.4"`},
		"metrics, no port":     {"[health]\nbackend_listen=''\nmetrics_address='10.0.0.1'", RoleBackend, `f:3: health.metrics_address: there is no health listener, whose port it would have`},
		"metrics twice":        {"[health]\nfrontend_listen=':9101'\nmetrics_address='10.0.0.1'", RoleAll, `f:3: health.metrics_address: the health listener, :9101, answers there already`},
		"no window in prop":    {"[network.main.settlement]\npplns_window='3'", RoleAny, `f:2: network.main.settlement.pplns_window: contradicts scheme = "prop": the window is for pplns`},
		"shared out early":     {"[network.main.settlement]\nconfirmations=2", RoleAny, `f:2: network.main.settlement.confirmations: 2 is less than close_depth, 3: a block is shared out after its round has ended`},
		"coins not to be had":  {"[network.main.settlement]\nconfirmations=100", RoleAny, `f:2: warning: network.main.settlement.confirmations: a coinbase can be spent after 101 confirmations: with 100 the wallet may lack what the books have shared out`},
		"sent again too soon":  {"[network.main]\ndaemon_timeout='30s'\n[network.main.payments]\nabsent_delay='30s'", RoleAny, `f:4: network.main.payments.absent_delay: 30s is not longer than daemon_timeout, 30s: a payment that is being made could be sent again`},
		"payments' back-off":   {"[network.main.payments]\nretry_min='2h'\nretry_max='1h'", RoleAny, `f:2: network.main.payments.retry_min: 2h is longer than retry_max, 1h`},
		"no float is money":    {"[network.main.payments]\nthreshold=0.1", RoleAny, `f:2: network.main.payments.threshold: wants an amount of coins in quotes, like "10" or "0.5", this is the number 0.1`},
		"nothing to pay":       {"[network.main.payments]\nthreshold='0'", RoleAny, `f:2: network.main.payments.threshold: 0 is too small, the least is 0.00000001`},
		"no such hour":         {"[network.main.payments]\nwindow_from='25:00'", RoleAny, `f:2: network.main.payments.window_from: "25:00" is no time of day, write hours and minutes from "00:00" to "24:00"`},
		"template":             {"[network.main]\nmode='template'\nhash_target='" + target + "'", RoleAny, `f:3: network.main.hash_target: is for classic networks, and this one has mode = "template"`},
	} {
		t.Run(name, func(t *testing.T) {
			got := complaints(t, c.text, c.role)
			for _, line := range got {
				if line == c.want {
					return
				}
			}
			t.Errorf("problems %q, want among them %q", got, c.want)
		})
	}
}

func TestProblemsNeverShowSecrets(t *testing.T) {
	got := complaints(t, `[database]
frontend_dsn = "postgres://u:hunter2@h:port/p"
[queue]
password = "hunter2"
`, RoleAny)
	if all := strings.Join(got, "\n"); strings.Contains(all, "hunter2") || len(got) == 0 {
		t.Errorf("problems show a password: %s", all)
	}
	s := NewSecret("hunter2")
	if text := fmt.Sprintf("%v %+v %#v %s", s, s, s, s.LogValue()); strings.Contains(text, "hunter2") {
		t.Errorf("printing a secret shows it: %s", text)
	}
}

func TestExampleIsValidAndShowsEveryDefault(t *testing.T) {
	var b bytes.Buffer
	if err := WriteExample(&b); err != nil {
		t.Fatal(err)
	}
	warning := fmt.Sprintf("f:%d: warning: network.main.pool_address: this is the example's address, whose coins nobody can ever spend: put the pool's own",
		strings.Count(b.String()[:strings.Index(b.String(), "pool_address =")], "\n")+1)
	wantComplaints(t, complaints(t, b.String(), RoleAny), warning)
	wantComplaints(t, complaints(t, b.String(), RoleAll), warning)

	// With the comment signs taken off the keys it is valid too and means the same.
	// Secrets' files are left: only one form of a secret can be given.
	commentedKey := regexp.MustCompile(`^# [a-z0-9_]+ = `)
	secretFile := regexp.MustCompile(`_dsn_file|password_file`)
	var lines []string
	for line := range strings.Lines(b.String()) {
		if key, ok := strings.CutPrefix(line, "# "); ok && commentedKey.MatchString(line) && !secretFile.MatchString(line) {
			line = key
		}
		lines = append(lines, line)
	}
	as, _ := Load(write(t, b.String()), nil, RoleAll)
	all, problems := Load(write(t, strings.Join(lines, "")), nil, RoleAny)
	for _, p := range problems {
		if !strings.Contains(p.Message, "contradicts") && !strings.Contains(p.Message, "only one can be meant") && p.Severity == Fault {
			t.Errorf("with every key: %v", p)
		}
	}
	same := cmp.Comparer(func(a, b Secret) bool { return a.value == b.value })
	normal := cmp.Transformer("empty", func(s []string) string { return strings.Join(s, ",") })
	if diff := cmp.Diff(as, all, same, normal, cmp.Comparer(func(a, b Frontend) bool { return fmt.Sprint(a) == fmt.Sprint(b) })); diff != "" {
		t.Errorf("the defaults in the example differ from those in the code:\n%s", diff)
	}
}

func TestReferenceIsCurrent(t *testing.T) {
	var b bytes.Buffer
	if err := WriteReference(&b); err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile("../../docs/CONFIGURATION.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, b.Bytes()) {
		t.Error("docs/CONFIGURATION.md is not what the code says: run make docs")
	}
}

func TestEveryKeyIsDocumented(t *testing.T) {
	docs := comments()
	if len(docs) < 80 {
		t.Fatalf("only %d comments were found in the sections", len(docs))
	}
	for name, doc := range docs {
		if doc == "" {
			t.Errorf("%s has no comment", name)
		}
	}
}
