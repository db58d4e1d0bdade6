package deploy

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"purepool/internal/testkit"
)

// The image is built by buildah, which needs no daemon, and its program is run in
// nothing but what is in it.
func TestImageHoldsTheProgramAloneAndRunsWithoutRights(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("building an image needs root here: run it as root, for example with sudo make test")
	}
	context := t.TempDir()
	testkit.Command(t, "cp", binary(t), filepath.Join(context, "purepool"))
	must(t, os.MkdirAll(filepath.Join(context, "deploy"), 0o755))
	testkit.Command(t, "cp", "-r", "container", filepath.Join(context, "deploy"))
	store := t.TempDir()
	buildah := func(args ...string) string {
		return testkit.Command(t, "buildah", append([]string{"--storage-driver", "vfs", "--root", store + "/root", "--runroot", store + "/run"}, args...)...)
	}
	buildah("build-using-dockerfile", "--isolation", "chroot", "--quiet", "--file", "../Dockerfile", "--tag", "purepool", context)

	var image struct {
		OCIv1 struct {
			Config struct {
				User       string
				Entrypoint []string
				Volumes    map[string]struct{}
			} `json:"config"`
		}
	}
	must(t, json.Unmarshal([]byte(buildah("inspect", "--type", "image", "purepool")), &image))
	c := image.OCIv1.Config
	if _, ok := c.Volumes["/var/lib/purepool"]; c.User != "65532:65532" || strings.Join(c.Entrypoint, " ") != "/purepool" || !ok {
		t.Errorf("image: %+v", c)
	}
	name := strings.TrimSpace(buildah("from", "--pull-never", "purepool"))
	root := strings.TrimSpace(buildah("mount", name))
	if out := testkit.Command(t, "chroot", "--userspec=65532:65532", root, "/purepool", "version"); !strings.HasPrefix(out, "purepool ") {
		t.Errorf("the image's program says %q", out)
	}
	held := strings.Fields(testkit.Command(t, "find", root, "-type", "f", "-printf", "%P "))
	slices.Sort(held)
	if want := []string{"etc/group", "etc/passwd", "purepool", "var/lib/purepool/README"}; !slices.Equal(held, want) {
		t.Errorf("the image holds %v, want %v", held, want)
	}
	if out := strings.TrimSpace(testkit.Command(t, "stat", "-c", "%u:%g", root+"/var/lib/purepool/README", root+"/purepool")); out != "65532:65532\n0:0" {
		t.Errorf("owners in the image: %q", out)
	}
}

// Compose itself reads its file, and each role's configuration is good.
func TestComposeFileIsSound(t *testing.T) {
	dir := t.TempDir()
	testkit.Command(t, "cp", "container/compose.yaml", "container/settings.conf", "site/networks.toml", dir)
	testkit.Command(t, "container/make-secrets", filepath.Join(dir, "secrets"))
	must(t, os.WriteFile(filepath.Join(dir, "secrets", "daemon.password"), []byte("x\n"), 0o600))
	text := testkit.Command(t, "docker-compose", "-f", filepath.Join(dir, "compose.yaml"), "config")
	environments := environmentsOf(text)
	for service, role := range map[string]string{"migrate": "migrate", "frontend": "frontend", "backend": "backend", "web": "web"} {
		environment := environments[service]
		if len(environment) < 3 {
			t.Fatalf("%s has the environment %v in\n%s", service, environment, text)
		}
		check := exec.CommandContext(t.Context(), binary(t), "config", "check", "--role", role, filepath.Join(dir, "networks.toml"))
		for _, e := range environment {
			check.Env = append(check.Env, strings.ReplaceAll(e, "/run/secrets", filepath.Join(dir, "secrets")))
		}
		if out, err := check.CombinedOutput(); err != nil || !strings.Contains(string(out), ": good for the role "+role) {
			t.Errorf("%s: %v\n%s", service, err, out)
		}
	}
	if _, wallet, _ := strings.Cut(text, "  wallet:"); wallet == "" {
		t.Errorf("no network for the wallet:\n%s", text)
	}
}

// environmentsOf reads the environments out of what docker-compose config prints,
// which has one form.
func environmentsOf(text string) map[string][]string {
	found := map[string][]string{}
	top, service, section := "", "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		word := strings.TrimSuffix(strings.TrimSpace(line), ":")
		switch depth := len(line) - len(strings.TrimLeft(line, " ")); {
		case depth == 0:
			top = word
		case depth == 2:
			service = word
		case depth == 4:
			section = word
		case depth == 6 && top == "services" && section == "environment":
			key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			found[service] = append(found[service], key+"="+strings.Trim(value, `'"`))
		}
	}
	return found
}
