package queuetest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// NewNATSCluster starts three servers that are one JetStream, set up with
// deploy/nats, on three addresses of loopback.
func NewNATSCluster(t testing.TB) []*NATS {
	t.Helper()
	example, err := deployFile("nats", "cluster.conf.example")
	if err != nil {
		t.Fatal(err)
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	var servers []*NATS
	for i := 1; i <= 3; i++ {
		address := fmt.Sprintf("127.0.0.%d", i)
		cluster := strings.ReplaceAll(string(example), ":6222", fmt.Sprintf(":%d", port))
		cluster = strings.Replace(cluster, `listen: "127.0.0.1:`, fmt.Sprintf(`listen: "%s:`, address), 1)
		n, err := startMember(fmt.Sprintf("queue%d", i), cluster)
		servers = append(servers, use(t, n, err))
	}
	return servers
}

// startMember starts a server with more at the end of its settings.
func startMember(name, more string) (*NATS, error) {
	dir, err := os.MkdirTemp("", "purepool-nats-")
	if err != nil {
		return nil, err
	}
	n := &NATS{Dir: dir}
	err = n.configure(NATSOption{})
	if err == nil {
		err = n.addSettings(name, more)
	}
	if err == nil {
		err = n.Start()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return n, nil
}

func (n *NATS) addSettings(name, more string) error {
	path := filepath.Join(n.Dir, "settings.conf")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	settings := strings.Replace(string(text), `PUREPOOL_SERVER_NAME: "test"`, fmt.Sprintf("PUREPOOL_SERVER_NAME: %q", name), 1)
	return os.WriteFile(path, []byte(settings+more), 0o600)
}
