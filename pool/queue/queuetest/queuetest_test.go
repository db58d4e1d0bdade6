package queuetest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

// childEnv makes the test binary one that starts a server and waits to be killed.
const childEnv = "PUREPOOL_QUEUETEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	n, err := StartNATS(NATSOption{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(n.Addr())
	fmt.Println(n.Dir)
	select {}
}

func TestServersStartStopAndStartAgain(t *testing.T) {
	t.Run("nats", func(t *testing.T) { restart(t, NewNATS(t, NATSOption{})) })
	t.Run("rabbitmq", func(t *testing.T) { restart(t, NewRabbitMQ(t)) })
}

func restart(t *testing.T, b Broker) {
	for _, end := range []func() error{b.Stop, b.Kill} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if err := b.Start(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestServersEndWithTheTestBinary(t *testing.T) {
	cmd := exec.Command(os.Args[0]) //nolint:noctx // killed below
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var said []string
	for len(said) < 2 && lines.Scan() {
		said = append(said, lines.Text())
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if len(said) < 2 {
		t.Fatal("no server")
	}
	defer os.RemoveAll(said[1])
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.DialTimeout("tcp", said[0], time.Second) //nolint:noctx // bounded
		if err != nil {
			return
		}
		c.Close()
		if time.Now().After(deadline) {
			t.Fatal("the server has outlived the test binary")
		}
	}
}
