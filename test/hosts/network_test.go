package hosts

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"purepool/internal/testkit"
)

// The networks: the servers' own, and the world's, in which miners are. Both are
// bridges in a network namespace that stands for the switches.
const (
	lan   = "10.77.0."
	world = "203.0.113."
)

// network is the cables and switches of a test.
type network struct {
	t      testing.TB
	prefix string // of the namespaces' names
}

// newNetwork plugs the switches in.
func newNetwork(t testing.TB) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test sets up servers with network namespaces, mounts and units: run it as root, for example with sudo make test")
	}
	removeLeftovers(t)
	n := &network{t: t, prefix: fmt.Sprintf("pp%d-", os.Getpid())}
	n.addNamespace("switch")
	for _, bridge := range []string{"lan", "world"} {
		n.ip("-n", n.prefix+"switch", "link", "add", bridge, "type", "bridge")
		n.ip("-n", n.prefix+"switch", "link", "set", bridge, "up")
	}
	// Where the miners are.
	n.addNamespace("miners")
	n.plug("miners", "world", world+"100")
	return n
}

func (n *network) ip(args ...string) {
	n.t.Helper()
	testkit.Command(n.t, "ip", args...)
}

func (n *network) addNamespace(name string) {
	n.t.Helper()
	n.ip("netns", "add", n.prefix+name)
	n.t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", n.prefix+name).Run() })
	n.ip("-n", n.prefix+name, "link", "set", "lo", "up")
}

// plug gives a namespace an interface on a bridge, named like it.
func (n *network) plug(name, bridge, address string) {
	n.t.Helper()
	port := bridge[:1] + "-" + name
	n.ip("-n", n.prefix+"switch", "link", "add", port, "type", "veth", "peer", "name", bridge, "netns", n.prefix+name)
	n.ip("-n", n.prefix+"switch", "link", "set", port, "master", bridge, "up")
	n.ip("-n", n.prefix+name, "address", "add", address+"/24", "dev", bridge)
	n.ip("-n", n.prefix+name, "link", "set", bridge, "up")
}

// cut lets nothing pass between two servers any more, in silence, as a broken cable
// does, and returns what mends it.
func (n *network) cut(a, b *host) (mend func()) {
	n.t.Helper()
	for _, h := range []*host{a, b} {
		other := a
		if h == a {
			other = b
		}
		// Before all other rules, and not among the pool's own.
		n.nft(h.name, fmt.Sprintf(`table ip cut {
			chain in { type filter hook prerouting priority -400; policy accept; ip saddr %[1]s drop; }
			chain out { type filter hook postrouting priority 400; policy accept; ip daddr %[1]s drop; }
		}`, other.address))
	}
	return func() {
		n.nft(a.name, "delete table ip cut")
		n.nft(b.name, "delete table ip cut")
	}
}

// nft runs rules in a namespace, past its server.
func (n *network) nft(name, rules string) {
	n.t.Helper()
	cmd := exec.Command("ip", "netns", "exec", n.prefix+name, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		n.t.Fatalf("nft in %s: %v\n%s", name, err, out)
	}
}

// dialer makes connections from within a namespace.
func (n *network) dialer(name string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = n.within(name, func() error {
			conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
}

// within calls f in a namespace: sockets made there stay there.
func (n *network) within(name string, f func() error) error {
	inside, err := os.Open("/run/netns/" + n.prefix + name)
	if err != nil {
		return err
	}
	defer inside.Close()
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := unix.Setns(int(inside.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread is lost, and ends with this goroutine: it stays locked.
		return back
	}
	runtime.UnlockOSThread()
	return err
}

// forward lets this process reach an address within a namespace by an address of
// its own, which it returns.
func (n *network) forward(name, address string) string {
	n.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(n.t, err)
	n.t.Cleanup(func() { _ = l.Close() })
	dial := n.dialer(name)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go pipe(c, func() (net.Conn, error) { return dial(context.Background(), "tcp", address) })
		}
	}()
	return l.Addr().String()
}

// removeLeftovers removes what a killed test has left: namespaces and mounts in
// whose names a process stands that is no more.
func removeLeftovers(t testing.TB) {
	t.Helper()
	gone := func(name, prefix string) bool {
		pid, _, _ := strings.Cut(strings.TrimPrefix(name, prefix), "-")
		n, err := strconv.Atoi(pid)
		return err == nil && strings.HasPrefix(name, prefix) && syscall.Kill(n, 0) == syscall.ESRCH
	}
	namespaces, _ := os.ReadDir("/run/netns")
	for _, e := range namespaces {
		if gone(e.Name(), "pp") {
			_ = exec.Command("ip", "netns", "del", e.Name()).Run()
		}
	}
	folders, _ := os.ReadDir(os.TempDir())
	for _, e := range folders {
		if gone(e.Name(), "purepool-hosts-release-") {
			_ = os.RemoveAll(filepath.Join(os.TempDir(), e.Name()))
		}
		if gone(e.Name(), "purepool-hosts-") {
			path := filepath.Join(os.TempDir(), e.Name())
			_ = unix.Unmount(path, unix.MNT_DETACH)
			_ = os.Remove(path)
		}
	}
}
