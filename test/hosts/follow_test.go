package hosts

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"purepool/test/page"
)

// root is the project's folder.
const root = "../.."

// editor stands in for the operator's: it writes what was to be typed.
const editor = "#!/bin/sh\ncp /root/typed/* \"$(dirname \"$1\")\"\n"

// follow runs a script of the documentation on a server, as root in a folder with a
// release, as it stands. typed is what the operator answers.
func (h *host) follow(script, typed string) {
	h.t.Helper()
	must(h.t, os.WriteFile(h.path("/usr/local/bin/nano"), []byte(editor), 0o755)) //nolint:gosec // a program
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := h.command(ctx, "bash", "-c", "set -euo pipefail; cd /root/release\n"+script)
	cmd.Stdin = strings.NewReader(typed)
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("%s: %v\n%s\n%s", h.name, err, script, out)
	}
}

// followOn runs the lines of a block each on the server that its comment names.
func (p *pool) followOn(b page.Block, servers map[string]*host) {
	for line := range strings.Lines(b.Text) {
		_, where, _ := strings.Cut(line, "# on the ")
		h := servers[strings.TrimSpace(where)]
		if h == nil {
			p.net.t.Fatalf("%v: on which server is this to be run? %s", b, line)
		}
		p.site.carry(h)
		h.follow(line, "")
	}
}

// release makes a release as docs/INSTALL.md does, once, and unpacks it: of the tree
// as it is, in a copy of it, and for this machine's architecture alone.
func release(t testing.TB) string {
	t.Helper()
	folder, err := releaseOnce()
	must(t, err)
	return folder
}

var releaseOnce = sync.OnceValues(func() (string, error) {
	pages, err := page.All(root, func(string, ...any) {}) // test/docs complains
	if err != nil {
		return "", err
	}
	script := ""
	for _, p := range pages {
		for _, b := range p.Blocks {
			if p.Name == "docs/INSTALL.md" && strings.Contains(b.Text, "make release") {
				script = strings.ReplaceAll(b.Text, "linux-amd64", "linux-"+runtime.GOARCH)
			}
		}
	}
	if script == "" {
		return "", fmt.Errorf("docs/INSTALL.md does not say how to make a release")
	}
	dir := scratch()
	cmd := exec.Command("bash", "-c", `set -euo pipefail
		mkdir "$0"
		git ls-files -z --cached --others --exclude-standard | tar --null -T - --ignore-failed-read -cf - 2>/dev/null | tar -C "$0" -xf -
		cp -r .git "$0/.git"
		cd "$0"
		`+script, dir)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "ARCH="+runtime.GOARCH, "MAKEFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", script, err, out)
	}
	archives, _ := filepath.Glob(filepath.Join(dir, "dist", "purepool-*-linux-"+runtime.GOARCH+".tar.gz"))
	if len(archives) != 1 {
		return "", fmt.Errorf("make release made %v", archives)
	}
	return strings.TrimSuffix(archives[0], ".tar.gz"), nil
})
