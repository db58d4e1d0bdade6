package deploy

import (
	"crypto/sha256"
	"debug/elf"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"purepool/internal/testkit"
)

var long = flag.Bool("long", false, "build releases for every architecture, and the second one without anything that was built before")

// The same commit gives the same bytes: built in two folders, and with -long with
// nothing built before.
func TestReleaseIsReproducible(t *testing.T) {
	architectures := []string{runtime.GOARCH}
	if *long {
		architectures = []string{"amd64", "arm64"}
	}
	source := filepath.Join(t.TempDir(), "a")
	first := releaseOf(t, "..", source, "", architectures)
	cache := ""
	if *long {
		cache = t.TempDir()
	}
	second := releaseOf(t, source, filepath.Join(t.TempDir(), "another", "folder"), cache, architectures)
	if len(first) != len(architectures)+1 {
		t.Fatalf("a release is %d files: %v", len(first), first)
	}
	for name, sum := range first {
		if second[name] != sum {
			t.Errorf("%s differs from build to build", name)
		}
		t.Logf("%s %s", sum, name)
	}
}

// releaseOf clones a copy of the project to a folder, makes a release there, looks at it, and
// returns its files with their sums.
func releaseOf(t *testing.T, from, dir, cache string, architectures []string) map[string]string {
	t.Helper()
	testkit.Command(t, "git", "clone", "--quiet", from, dir)
	release := exec.CommandContext(t.Context(), filepath.Join(dir, "scripts", "release"), architectures...)
	release.Env = os.Environ()
	if cache != "" {
		release.Env = append(release.Env, "GOCACHE="+cache)
	}
	if out, err := release.CombinedOutput(); err != nil {
		t.Fatalf("scripts/release: %v\n%s", err, out)
	}
	dist := filepath.Join(dir, "dist")
	check := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "SHA256SUMS")
	check.Dir = dist
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("checksums: %v\n%s", err, out)
	}
	commit := strings.TrimSpace(testkit.Command(t, "git", "-C", dir, "rev-parse", "--short=12", "HEAD"))
	sums := map[string]string{}
	files, err := os.ReadDir(dist)
	must(t, err)
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dist, f.Name()))
		must(t, err)
		sums[f.Name()] = fmt.Sprintf("%x", sha256.Sum256(text))
		if name, ok := strings.CutSuffix(f.Name(), ".tar.gz"); ok {
			testkit.Command(t, "tar", "-C", dist, "-xzf", filepath.Join(dist, f.Name()))
			lookAt(t, filepath.Join(dist, name), commit)
		}
	}
	return sums
}

// lookAt checks an unpacked archive: a static program of its name's version and
// architecture, and the scripts beside it.
func lookAt(t *testing.T, dir, commit string) {
	t.Helper()
	program, err := elf.Open(filepath.Join(dir, "purepool"))
	must(t, err)
	defer program.Close()
	_, architecture, _ := strings.Cut(filepath.Base(dir), "-linux-")
	if want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[architecture]; program.Machine != want {
		t.Errorf("%s is for %v", dir, program.Machine)
	}
	for _, segment := range program.Progs {
		if segment.Type == elf.PT_INTERP {
			t.Errorf("%s is not static", dir)
		}
	}
	if architecture == runtime.GOARCH {
		version := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(dir), "purepool-"), "-linux-"+architecture)
		if said := testkit.Command(t, filepath.Join(dir, "purepool"), "version"); !strings.HasPrefix(said, "purepool "+version+", commit "+commit+" ") {
			t.Errorf("%s says %q, commit %s", filepath.Base(dir), said, commit)
		}
	}
	for _, file := range []string{"LICENSE", "README.md", "Dockerfile", "docs/CONFIGURATION.md", "deploy/setup", "deploy/make-site", "deploy/systemd/purepool-frontend.service"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Errorf("%v", err)
		}
	}
}
