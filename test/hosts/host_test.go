package hosts

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"purepool/test/house"
)

// host is one server.
type host struct {
	name    string // in the site's words
	address string // on the servers' network
	t       testing.TB
	net     *network
	dir     string // holds upper, work and root of its file system

	cmd    *exec.Cmd
	said   *house.Tail
	gone   chan struct{} // closed when it has ended
	leader int           // process 1 of the server, as this machine counts
}

// storage is the disks of all servers, in memory.
func storage(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("purepool-hosts-%d", os.Getpid()))
	must(t, os.Mkdir(dir, 0o755))
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755,size=8g"))
	t.Cleanup(func() {
		_ = unix.Unmount(dir, unix.MNT_DETACH)
		_ = os.Remove(dir)
	})
	return dir
}

// newHost buys a server: Debian with the packages that are installed here, nothing
// enabled, connected and off. The addresses end in number; the world's is for those
// whom miners may reach.
func newHost(t testing.TB, n *network, disks, name string, number int, public bool) *host {
	t.Helper()
	h := &host{name: name, address: fmt.Sprintf("%s%d", lan, number), t: t, net: n, dir: filepath.Join(disks, name)}
	for _, folder := range []string{"upper", "work", "root"} {
		must(t, os.MkdirAll(filepath.Join(h.dir, folder), 0o755))
	}
	n.addNamespace(name)
	n.plug(name, "lan", h.address)
	if public {
		n.plug(name, "world", fmt.Sprintf("%s%d", world, number))
	}
	t.Cleanup(h.kill)
	return h
}

// boot is the script that starts a server: its file system, then its systemd.
// Everything that it mounts goes with it.
const boot = `
set -eu
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
if [ ! -e "$dir/root/etc/purepool-test-host" ]; then
	# A new server: nothing is enabled, and nothing is left of this machine's own pools.
	rm -rf "$dir"/root/etc/systemd/system/*.wants/* "$dir/root/etc/purepool" "$dir/root/var/lib/purepool" "$dir/root/var/log/journal"
	printf '127.0.0.1 localhost\n' >"$dir/root/etc/hosts"
	printf '%s\n' "$name" >"$dir/root/etc/hostname"
	: >"$dir/root/etc/purepool-test-host"
fi
exec systemd-nspawn --quiet --boot --directory="$dir/root" --machine="$machine" --hostname="$name" \
	--network-namespace-path="/run/netns/$namespace" --capability=CAP_NET_ADMIN \
	--register=no --keep-unit --console=pipe --link-journal=no --resolv-conf=off --timezone=off --settings=no \
	systemd.mask=console-getty.service systemd.mask=systemd-logind.service systemd.mask=getty.target systemd.mask=systemd-update-utmp.service \
	systemd.mask=systemd-networkd.service systemd.mask=systemd-resolved.service systemd.mask=systemd-timesyncd.service systemd.mask=epmd.socket
`

// switchOn starts the server and waits until its systemd takes orders.
func (h *host) switchOn() {
	h.t.Helper()
	h.said = new(house.Tail)
	h.cmd = exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", boot)
	h.cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"dir=" + h.dir, "name=" + h.name, "machine=" + h.net.prefix + h.name, "namespace=" + h.net.prefix + h.name,
	}
	h.cmd.Stdout, h.cmd.Stderr = h.said, h.said
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	must(h.t, h.cmd.Start())
	h.gone = make(chan struct{})
	go func(cmd *exec.Cmd, gone chan struct{}) {
		_ = cmd.Wait()
		close(gone)
	}(h.cmd, h.gone)
	h.eventually("its systemd takes orders", 30*time.Second, func() bool {
		h.leader = h.findLeader()
		return h.leader != 0 && h.try("systemctl", "list-jobs") == nil
	})
}

// findLeader finds process 1 of the server: the child of systemd-nspawn.
func (h *host) findLeader() int {
	pid := h.cmd.Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0
	}
	for _, word := range strings.Fields(string(children)) {
		child, _ := strconv.Atoi(word)
		if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", child)); strings.TrimSpace(string(name)) == "systemd" {
			return child
		}
	}
	return 0
}

// kill pulls the plug: every process of the server ends at once, and what is on
// the wire to it is lost. What a kernel forgets is forgotten.
func (h *host) kill() {
	if h.cmd == nil {
		return
	}
	_ = exec.Command("ip", "-n", h.net.prefix+"switch", "link", "set", "l-"+h.name, "down").Run()
	if h.leader != 0 {
		// Process 1 of a namespace of processes takes all others with it.
		_ = syscall.Kill(h.leader, syscall.SIGKILL)
	}
	select {
	case <-h.gone:
	case <-time.After(5 * time.Second):
		_ = h.cmd.Process.Kill()
		<-h.gone
	}
	_ = exec.Command("ip", "netns", "exec", h.net.prefix+h.name, "nft", "flush", "ruleset").Run()
	_ = os.Remove("/run/systemd/nspawn/propagate/" + h.net.prefix + h.name)
	h.cmd, h.leader = nil, 0
	if h.t.Failed() && testing.Verbose() {
		h.t.Logf("%s said last:\n%s", h.name, h.said)
	}
}

// comeBack plugs a killed server in again.
func (h *host) comeBack() {
	h.t.Helper()
	h.net.ip("-n", h.net.prefix+"switch", "link", "set", "l-"+h.name, "up")
	h.switchOn()
}

// command makes a command that runs in the server, as root.
func (h *host) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{
		"--target", strconv.Itoa(h.leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--",
		"env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8",
	}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (h *host) try(args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := h.command(ctx, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %s: %w\n%s", h.name, strings.Join(args, " "), err, out)
	}
	return nil
}

// run runs a command in the server and returns what it prints.
func (h *host) run(args ...string) string {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := h.command(ctx, args...)
	var failure strings.Builder
	cmd.Stderr = &failure
	out, err := cmd.Output()
	if err != nil {
		h.t.Fatalf("%s: %s: %v\n%s%s", h.name, strings.Join(args, " "), err, out, failure.String())
	}
	return string(out)
}

// path is where a file of the running server lies on this machine.
func (h *host) path(file string) string { return fmt.Sprintf("/proc/%d/root%s", h.leader, file) }

// ready reports whether a role on the server says that it can do its work.
func (h *host) ready(port int) bool {
	return h.leader != 0 && h.get(fmt.Sprintf("http://127.0.0.1:%d/readyz", port)) != ""
}

// get returns what the server serves itself under a URL, empty where that is not 200.
func (h *host) get(url string) string { return h.net.get(h.name, url) }

// get returns what is served under a URL as seen from a namespace, empty where that
// is not 200.
func (n *network) get(name, url string) string {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	must(n.t, err)
	client := http.Client{Transport: &http.Transport{DialContext: n.dialer(name), DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return ""
	}
	return string(text)
}

func (h *host) eventually(what string, within time.Duration, condition func() bool) {
	h.t.Helper()
	deadline := time.Now().Add(within)
	for !condition() {
		select {
		case <-h.gone:
			h.t.Fatalf("%s ended; wanted: %s\n%s", h.name, what, h.said)
		default:
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("%s: not within %v: %s\n%s", h.name, within, what, h.said)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// pipe connects a connection with another until either ends.
func pipe(c net.Conn, dial func() (net.Conn, error)) {
	defer c.Close()
	other, err := dial()
	if err != nil {
		return
	}
	defer other.Close()
	go func() {
		_, _ = io.Copy(other, c)
		if w, ok := other.(*net.TCPConn); ok {
			_ = w.CloseWrite()
		}
	}()
	_, _ = io.Copy(c, other)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
