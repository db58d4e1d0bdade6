package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// No bytes make the loader panic or take its time, every problem of a file that
// is TOML has a line, and a file without a fault keeps the promises of its type.
func FuzzConfig(f *testing.F) {
	var example bytes.Buffer
	if err := WriteExample(&example); err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{
		"", example.String(), classicAll, "\ufeff[log]\r\nlevel='info'", "[[frontend.http]]\n[[frontend.http]]\nlisten=\"x\"",
		"frontend = {http = [{listen=':80', tls=true}, {}]}", "a.b.'c.d'.\"e\\u0041\" = [[1,2],[\"\"\"x\n\"\"\"\"\", '''y''']]",
		"[network.main]\nfee_percent='2.5'\n[network.main.daemon]\n", "[log]\nlevel = 1979-05-27 07:32:00Z\n", "x = {", "\x00", "[", "[[", "]", "= 1", "\"",
	} {
		f.Add([]byte(text))
	}
	path := filepath.Join(f.TempDir(), "purepool.toml")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, role := range []Role{RoleAny, RoleAll, RoleFrontend} {
			cfg, problems := Load(path, nil, role)
			if cfg == nil {
				t.Fatal("no configuration")
			}
			for _, p := range problems {
				if p.Message == "" || p.Source == "" {
					t.Errorf("a problem without text or place: %+v", p)
				}
				if strings.HasPrefix(p.Message, "unknown key") && p.Line == 0 {
					t.Errorf("no line: %v", p)
				}
			}
			if role == RoleAny || Faults(problems) > 0 {
				continue
			}
			for name, n := range cfg.Network {
				if n.PoolAddress == "" || n.HashTarget == (Target{}) {
					t.Errorf("the %s starts with network %s without address or target", role, name)
				}
			}
		}
	})
}

// Every key that the TOML library finds has a line here, and the right one.
func FuzzLocate(f *testing.F) {
	var example bytes.Buffer
	if err := WriteExample(&example); err != nil {
		f.Fatal(err)
	}
	f.Add(example.String())
	f.Add("a = 1\n[b]\nc.d = '''\nx = 1\n'''\n[[e.f]]\ng = {h = [{i = 1},\n{i = 2}]}\n[[e.f]]\n[e.f.j]\nk = \"\\\"#\" # x = 1\n\"l m\" = 2")
	f.Fuzz(func(t *testing.T, doc string) {
		if len(doc) > 1<<12 {
			return
		}
		lines, tooDeep := locate(doc)
		if tooDeep > 0 {
			return
		}
		tree := make(map[string]any)
		if _, err := toml.Decode(doc, &tree); err != nil {
			return
		}
		for key := range tree {
			// A byte order mark and what the library does with escapes in keys are
			// its own affair.
			if lines[key] == 0 && !strings.HasPrefix(doc, "\xff\xfe") && !strings.HasPrefix(doc, "\xfe\xff") && !strings.HasPrefix(doc, "\ufeff") {
				t.Errorf("key %q has no line", key)
			}
		}
	})
}

func TestLinesAreThoseOfTheKeys(t *testing.T) {
	lines, _ := locate("a = 1\n[b]\nc.d = '''\nx = 1\n'''\n[[e.f]]\ng = {h = [{i = 1},\n{i = 2}]}\n[[e.f]]\n[e.f.j]\nk = \"\\\"#\" # x = 1\n\"l m\" = 2")
	for key, want := range map[string]int{
		"a": 1, "b": 2, "b.c": 3, "b.c.d": 3, "e": 6, "e.f": 6, "e.f[0]": 6, "e.f[0].g.h[0].i": 7, "e.f[0].g.h[1].i": 8,
		"e.f[1]": 9, "e.f[1].j": 10, "e.f[1].j.k": 11, "e.f[1].j.l m": 12, "x": 0,
	} {
		if lines[key] != want {
			t.Errorf("%s stands on line %d, want %d", key, lines[key], want)
		}
	}
}
