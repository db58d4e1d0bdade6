package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEnvironmentOverridesTheFile(t *testing.T) {
	cfg, problems := Load(write(t, classicAll), []string{
		"HOME=/root",
		"PUREPOOL_CONFIG=ignored",
		"PUREPOOL_LOG_LEVEL=debug",
		"PUREPOOL_FRONTEND_HEAD_TIMEOUT=5s",
		"PUREPOOL_FRONTEND_TRUSTED_PROXIES=10.0.0.0/8, 192.0.2.1",
		"PUREPOOL_FRONTEND_HTTP_0_LISTEN=:81",
		"PUREPOOL_FRONTEND_HTTP_1_LISTEN=:82",
		"PUREPOOL_QUEUE_SPOOL_MAX_BYTES=2GiB",
		"PUREPOOL_NETWORK_TEST_FEE_PERCENT=1.25",
		"PUREPOOL_NETWORK_TEST_DAEMON_0_PASSWORD=other",
		"PUREPOOL_NETWORK_MAIN_POOL_ADDRESS=B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH",
		"PUREPOOL_NETWORK_MAIN_HASH_TARGET=" + target,
		"PUREPOOL_NETWORK_MAIN_DAEMON_0_URL=http://127.0.0.1:1",
		"PUREPOOL_NETWORK_MAIN_DAEMON_0_COOKIE_FILE=/cookie",
	}, RoleAll)
	if len(problems) > 0 {
		t.Fatalf("problems: %v", problems)
	}
	if cfg.Log.Level != "debug" || cfg.Frontend.HeadTimeout != 5*time.Second || cfg.Queue.SpoolMaxBytes != 2<<30 {
		t.Errorf("plain keys were not overridden: %+v %+v", cfg.Log, cfg.Frontend)
	}
	if got := []string{cfg.Frontend.HTTP[0].Listen, cfg.Frontend.HTTP[1].Listen}; !cmp.Equal(got, []string{":81", ":82"}) {
		t.Errorf("listeners = %q", got)
	}
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32")}
	if !reflect.DeepEqual(cfg.Frontend.TrustedProxies, proxies) {
		t.Errorf("trusted_proxies = %v", cfg.Frontend.TrustedProxies)
	}
	if n := cfg.Network["test"]; n.FeePercent != 1_250_000 || n.Daemon[0].Password.Value() != "other" {
		t.Errorf("network test = %+v", n)
	}
	if n := cfg.Network["main"]; n == nil || n.Daemon[0].CookieFile != "/cookie" || n.Algorithm != "x11" {
		t.Errorf("network main was not made from the environment: %+v", n)
	}
}

func TestProblemsOfTheEnvironmentNameTheVariable(t *testing.T) {
	wantComplaints(
		t,
		complaints(
			t, "", RoleAny,
			"PUREPOOL_LOG_LEVL=debug",
			"PUREPOOL_FRONTEND_HTTP_2_LISTEN=:80",
			"PUREPOOL_NETWORK_MAIN_ALGORITHM=sha1",
			"PUREPOOL_NETWORK_1X_MODE=classic",
			"PUREPOOL_BACKEND_RETRY_MIN=soon",
			"PUREPOOL_NETWORK_MAIN_HASH_TARGET=12",
			"PUREPOOL_FRONTEND=x",
		),
		`$PUREPOOL_BACKEND_RETRY_MIN: backend.retry_min: "soon" is no duration, write a number and a unit like "250ms", "30s", "5m", "1h30m" or "14d"`,
		`$PUREPOOL_FRONTEND: no such key, did you mean "PUREPOOL_FRONTEND_ID"?`,
		`$PUREPOOL_FRONTEND_HTTP_2_LISTEN: there is no frontend.http[2]: the next one would be number 0`,
		`$PUREPOOL_LOG_LEVL: no such key, did you mean "PUREPOOL_LOG_LEVEL"?`,
		`$PUREPOOL_NETWORK_1X_MODE: no such key, did you mean "PUREPOOL_NETWORK_MAIN_MODE"?`,
		`$PUREPOOL_NETWORK_MAIN_ALGORITHM: network.main.algorithm: "sha1" is none of x11, scrypt and sha256d`,
		`$PUREPOOL_NETWORK_MAIN_HASH_TARGET: network.main.hash_target: a target is 64 hex digits, this has 2 characters`,
	)
}

// Every key that the reference names can be set by the variable that it names.
func TestEveryKeyHasItsVariable(t *testing.T) {
	for _, name := range envNames(reflect.TypeFor[Config](), envPrefix) {
		l := &loader{cfg: &Config{Network: make(map[string]*Network)}, origins: make(map[string]origin)}
		found, err := l.setEnv("", name[len(envPrefix):], reflect.ValueOf(l.cfg).Elem(), "", origin{source: "$" + name})
		if !found || err != nil {
			t.Errorf("%s: found %v, %v", name, found, err)
		}
	}
}

func secretFile(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSecretsAreReadFromFiles(t *testing.T) {
	path := secretFile(t, "from a file\r\n", 0o600)
	cfg, problems := Load(write(t, "[queue]\nuser = 'u'\npassword_file = '"+path+"'"), nil, RoleAny)
	if len(problems) > 0 || cfg.Queue.Password.Value() != "from a file" {
		t.Errorf("password %q, problems %v", cfg.Queue.Password.Value(), problems)
	}
}

func TestEnvironmentsFormOfASecretReplacesTheFiles(t *testing.T) {
	path := secretFile(t, "from a file", 0o600)
	cfg, problems := Load(write(t, "[queue]\nuser = 'u'\npassword = 'plain'"), []string{"PUREPOOL_QUEUE_PASSWORD_FILE=" + path}, RoleAny)
	if len(problems) > 0 || cfg.Queue.Password.Value() != "from a file" {
		t.Errorf("password %q, problems %v", cfg.Queue.Password.Value(), problems)
	}
}

func TestRelativePathsStartAtTheFile(t *testing.T) {
	path := write(t, "[queue]\nurl = 'tls://h'\nca_file = 'ca.pem'\nuser = 'u'\npassword_file = 'pw'\nspool_dir = '/abs'")
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "pw"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, problems := Load(path, nil, RoleAny)
	if len(problems) > 0 {
		t.Fatalf("problems: %v", problems)
	}
	if got, want := string(cfg.Queue.CAFile), filepath.Join(filepath.Dir(path), "ca.pem"); got != want {
		t.Errorf("ca_file = %s, want %s", got, want)
	}
	if cfg.Queue.SpoolDir != "/abs" {
		t.Errorf("spool_dir = %s", cfg.Queue.SpoolDir)
	}
}

func TestBadSecretFilesAreNamed(t *testing.T) {
	for name, c := range map[string]struct{ path, want string }{
		"missing":  {"/nonexistent", "f:3: queue.password_file: /nonexistent: no such file or directory"},
		"folder":   {"/tmp", "f:3: queue.password_file: /tmp is no file"},
		"empty":    {secretFile(t, "\n", 0o600), "is empty"},
		"lines":    {secretFile(t, "a\nb\n", 0o600), "holds more than one line"},
		"readable": {secretFile(t, "a\n", 0o644), "can be read by every user of this machine (mode 0644), chmod o= would help"},
	} {
		t.Run(name, func(t *testing.T) {
			got := complaints(t, "[queue]\nuser = 'u'\npassword_file = '"+c.path+"'", RoleAny)
			want := c.want
			if want[0] != 'f' {
				want = "f:3: queue.password_file: " + c.path + " " + want
			}
			if name == "readable" {
				want = "f:3: warning: " + want[len("f:3: "):]
			}
			wantComplaints(t, got, want)
		})
	}
}

func TestSecretInAReadableConfigurationIsAWarning(t *testing.T) {
	path := write(t, "[queue]\nuser = 'u'\npassword = 'p'\n[database]\nweb_dsn = 'postgres://w@/p?sslmode=disable'")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	_, problems := Load(path, nil, RoleAny)
	if len(problems) != 1 || problems[0].Severity != Warning || problems[0].Line != 3 {
		t.Errorf("problems: %v", problems)
	}
}

// What faces the internet must have nothing to steal.
func TestFrontendRefusesOtherRolesSecrets(t *testing.T) {
	cookie := secretFile(t, "cookie", 0o600)
	dsn := secretFile(t, "postgres://b:x@/p?sslmode=disable", 0o600)
	got := complaints(t, `[database]
frontend_dsn = "postgres://f:own@/p?sslmode=disable"
backend_dsn_file = "`+dsn+`"
web_dsn_file = "/nonexistent"
[queue]
url = "nats://h"
spool_dir = "/spool"
[[frontend.http]]
listen = ":80"
[network.test]
pool_address = "yhVPf12UvK8zYgZwS6kLsPmtccHUQiD3Q9"
hash_target = "`+target+`"
[[network.test.daemon]]
url = "http://a"
user = "rpc"
password = "secret"
[[network.test.daemon]]
url = "http://b"
cookie_file = "`+cookie+`"
`, RoleFrontend)
	wantComplaints(
		t, got,
		"f:3: database.backend_dsn_file: "+dsn+" is a secret of backend,admin,migrate, and the frontend can read it: take the permission away or leave the key out",
		"f:16: network.test.daemon[0].password: this is a secret of backend,admin, and the frontend must not know it: leave it out, or give it as password_file which only the other role can read",
		"f:19: network.test.daemon[1].cookie_file: "+cookie+" gives access to the daemon, and the frontend can read it: take the permission away or leave the key out",
	)
}
