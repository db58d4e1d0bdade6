// Package testkit has the small things that tests of running programs need again
// and again: a free port, a command, patience.
package testkit

import (
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// FreeAddress is an address of the loopback interface on which nobody listens.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// WaitOpen waits until somebody listens at an address.
func WaitOpen(t testing.TB, address string) {
	t.Helper()
	Eventually(t, "the port is open", time.Minute, func() bool {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
}

// Eventually waits until the condition holds, and ends the test where it does not
// come to that.
func Eventually(t testing.TB, what string, within time.Duration, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// Command runs a program to its good end and returns what it printed.
func Command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
