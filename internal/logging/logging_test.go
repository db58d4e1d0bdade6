package logging

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"purepool/internal/config"
)

func TestLevelAndFormatAreTheConfigurations(t *testing.T) {
	var text, json bytes.Buffer
	warn := New(&text, config.Log{Level: "warn", Format: "text"}).For(config.RoleAll)
	warn.Info("quiet")
	warn.Warn("loud", slog.Int("n", 1))
	if got := text.String(); strings.Contains(got, "quiet") || !strings.Contains(got, "msg=loud role=all n=1") {
		t.Errorf("text log: %s", got)
	}
	New(&json, config.Log{Level: "debug", Format: "json"}).For(config.RoleAll).
		Debug("seen", slog.Any("secret", config.NewSecret("hunter2")))
	if got := json.String(); !strings.Contains(got, `"msg":"seen"`) || strings.Contains(got, "hunter2") {
		t.Errorf("JSON log: %s", got)
	}
}

func TestEachRoleHasALevelOfItsOwn(t *testing.T) {
	var out bytes.Buffer
	logs := New(&out, config.Log{Level: "info", BackendLevel: "debug", Format: "text"})
	says := func(r config.Role) bool {
		out.Reset()
		logs.For(r).With(slog.Int("n", 1)).WithGroup("g").Debug("seen", slog.Int("m", 2))
		return strings.Contains(out.String(), "role="+string(r)+" n=1 g.m=2")
	}
	if !says(config.RoleBackend) || says(config.RoleFrontend) || says(config.RoleAll) {
		t.Error("not the configured levels")
	}
	frontend := logs.For(config.RoleFrontend)
	if err := logs.SetLevel(config.RoleFrontend, slog.LevelDebug); err != nil || !says(config.RoleFrontend) || says(config.RoleWeb) {
		t.Errorf("the frontend's level was not changed alone: %v", err)
	}
	if !frontend.Enabled(t.Context(), slog.LevelDebug) {
		t.Error("a logger that was given out before does not follow")
	}
	if err := logs.SetLevel(config.RoleAll, slog.LevelError); err != nil || says(config.RoleBackend) {
		t.Errorf("all were not changed: %v", err)
	}
	if err := logs.SetLevel("nobody", slog.LevelInfo); err == nil {
		t.Error("a role that is none has a level")
	}
	logs.Configure(config.Log{Level: "warn", FrontendLevel: "debug"})
	if !says(config.RoleFrontend) || says(config.RoleBackend) || logs.Levels()[config.RoleWeb] != slog.LevelWarn {
		t.Error("a new configuration does not replace what was set by hand")
	}
}

const miner = "yLLbSnWkEBB8gwLjbKvNQxdb5P4xRvKgyX"

func TestAddressesAreShortenedFromInfoOnAndWholeBelow(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		log := New(&out, config.Log{Level: "debug", Format: format, Privacy: true}).For(config.RoleFrontend)
		attrs := []any{
			slog.String("miner", miner), slog.Any("ip", netip.MustParseAddr("203.0.113.77")),
			slog.Any("error", errors.New("read tcp 127.0.0.1:80->198.51.100.5:4433: "+miner+" is gone")),
			slog.Group("g", slog.Any("all", []string{miner, "2001:db8:1:2::5"})),
		}
		log.With(attrs...).Info("from 203.0.113.78", attrs...)
		got := out.String()
		for _, secret := range []string{miner, "203.0.113.7", "198.51.100.5", "db8:1:2"} {
			if strings.Contains(got, secret) {
				t.Errorf("%s: %s stands in %s", format, secret, got)
			}
		}
		for _, want := range []string{"yLLbS…KgyX", "203.0.113.0/24", "198.51.100.0/24:4433", "2001:db8:1::/48", "127.0.0.1:80"} {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %s is missing in %s", format, want, got)
			}
		}
		out.Reset()
		log.With(attrs...).Debug("looked for", attrs...)
		if got := out.String(); strings.Count(got, miner) != 6 || !strings.Contains(got, "203.0.113.77") {
			t.Errorf("%s: a debug line hides what one looks for: %s", format, got)
		}
	}
}

func TestWithoutPrivacyNothingIsShortened(t *testing.T) {
	var out bytes.Buffer
	New(&out, config.Log{Level: "info", Format: "text"}).For(config.RoleBackend).Warn("w", slog.String("miner", miner))
	if !strings.Contains(out.String(), miner) {
		t.Errorf("shortened: %s", out.String())
	}
}

func TestOnlyAddressesAreShortened(t *testing.T) {
	for _, text := range []string{
		"", "1.2", "10.0.0.7:5432", "[::1]:9101", "fe80::1", "12:30:15", "192.168.1.1",
		"0000111100000000000000000000000000000000000000000000000000000000",
		"0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", "postgres://purepool_backend@/purepool?host=/run/postgresql",
		"TestShareIsCreditedOnceAcrossFrontends", "2024-05-01T10:11:12.123Z", "std::vector",
	} {
		if got := Shorten(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	for text, want := range map[string]string{
		"B4T5ciTCkWauSqVAcVKy88ofjcSasUkSYU/rig1":      "B4T5c…kSYU/rig1",
		"rltc1qd5wm03t5kcdupjuyq5jffpuacnaqahvfsdu8sm": "rltc1…u8sm",
		"::ffff:203.0.113.9":                           "203.0.113.0/24",
		"[2001:db8:aa:bb::1]:80":                       "[2001:db8:aa::/48]:80",
		"error:2001:db8:a::1: refused":                 "error:2001:db8:a::/48: refused",
		"203.0.113.7/32":                               "203.0.113.0/24",
		"100.64.1.2 and 8.8.8.8,":                      "100.64.1.0/24 and 8.8.8.0/24,",
	} {
		if got := Shorten(text); got != want {
			t.Errorf("%q became %q, not %q", text, got, want)
		}
	}
}

func FuzzShortenLeavesNoAddress(f *testing.F) {
	f.Add("dial ", " refused")
	f.Add("[", "]:80")
	f.Add("a.", "/rig")
	f.Fuzz(func(t *testing.T, before, after string) {
		got := Shorten(before + " " + miner + " 203.0.113.77 " + after)
		if strings.Contains(strings.TrimPrefix(got, before), miner+" ") || strings.Contains(got, " 203.0.113.77 ") {
			t.Errorf("an address stays in %q", got)
		}
	})
}

func TestThePageShowsAndSetsTheLevelsOfRolesThatArePlayed(t *testing.T) {
	logs := New(io.Discard, config.Log{Level: "info", Format: "text"})
	page := logs.Page([]config.Role{config.RoleFrontend, config.RoleWeb})
	ask := func(method, query string) (int, string) {
		w := httptest.NewRecorder()
		page.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/log-level?"+query, nil))
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	for _, c := range []struct {
		method, query string
		code          int
		want          string
	}{
		{http.MethodGet, "", 200, `{"frontend":"info","web":"info"}`},
		{http.MethodPut, "role=web&level=debug", 200, `{"frontend":"info","web":"debug"}`},
		{http.MethodPut, "role=all&level=warn", 200, `{"frontend":"warn","web":"warn"}`},
		{http.MethodPut, "role=backend&level=warn", 404, `this process plays frontend, web, not "backend"`},
		{http.MethodPut, "role=web&level=loud", 400, `"loud" is no level: it is one of debug, info, warn, error`},
		{http.MethodPost, "role=web&level=debug", 405, "GET or PUT"},
	} {
		if code, got := ask(c.method, c.query); code != c.code || got != c.want {
			t.Errorf("%s %s: %d %s", c.method, c.query, code, got)
		}
	}
}
