// Package queuetest starts real brokers for tests: the installed nats-server and
// rabbitmq-server, with the permissions of deploy/nats and deploy/rabbitmq, on
// loopback, in folders of their own. They end with the test, and also when
// the test binary is killed.
package queuetest

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Passwords of the two users of the brokers started here.
const (
	FrontendPassword = "frontend-secret"
	BackendPassword  = "backend-secret"
)

// Broker is what the brokers of this package have in common.
type Broker interface {
	// FrontendURL and BackendURL are for queue.Config.URL.
	FrontendURL() string
	BackendURL() string
	// Stop ends the server as an operator would, Kill as a power failure would.
	// Start starts it again with the same address and data; it returns when the server
	// takes connections.
	Stop() error
	Kill() error
	Start() error
	// Close stops the server and removes its folder.
	Close()
}

// process is a server in a process group of its own, watched over.
type process struct {
	cmd      *exec.Cmd
	watchdog *exec.Cmd
	leash    io.Closer
	done     chan struct{} // closed when cmd has been waited for
}

// spawn starts a command whose output goes to a file, and a watchdog that kills
// it, with its children, when this process has gone.
func spawn(logPath, dir string, env []string, name string, args ...string) (*process, error) {
	log, err := os.OpenFile(logPath, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(name, args...) //nolint:noctx // it ends by stop, kill or the watchdog
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait()
	}()
	// The pipe ends with this process, however that ends.
	p.watchdog = exec.Command("/bin/sh", "-c", `read _; kill -s KILL -- "-$0" 2>/dev/null`, fmt.Sprint(cmd.Process.Pid)) //nolint:noctx // as above
	p.watchdog.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.leash, err = p.watchdog.StdinPipe()
	if err == nil {
		err = p.watchdog.Start()
	}
	if err != nil {
		p.watchdog = nil
		return nil, errors.Join(err, p.end(syscall.SIGKILL, time.Second))
	}
	return p, nil
}

// end signals the server, waits for it, kills what is left after patience, and
// calls the watchdog off.
func (p *process) end(sig syscall.Signal, patience time.Duration) error {
	var err error
	select {
	case <-p.done:
	default:
		err = p.cmd.Process.Signal(sig)
	}
	select {
	case <-p.done:
	case <-time.After(patience):
		err = fmt.Errorf("%s did not end within %v of %v", p.cmd.Path, patience, sig)
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
	if p.watchdog != nil {
		_ = p.watchdog.Process.Kill()
		_ = p.watchdog.Wait()
		p.leash.Close()
		p.watchdog = nil
	}
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// running reports whether the server has not ended by itself.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// freePort returns a port that nobody uses, from below those that the kernel gives
// to outgoing connections: one of these could take it while a server that was
// stopped is to start again.
func freePort() (int, error) {
	const low, high = 15_000, 32_000
	var err error
	for range 100 {
		port := low + rand.IntN(high-low)
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil { //nolint:noctx // it does not wait
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("finding a free port: %w", err)
}

// await calls ready until it succeeds, the server ends or patience is over.
func await(p *process, logPath string, patience time.Duration, ready func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		if !p.running() || time.Now().After(deadline) {
			log, _ := os.ReadFile(logPath)
			return fmt.Errorf("%s is not ready: %w\n%s", filepath.Base(p.cmd.Path), err, log[max(0, len(log)-4000):])
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// deployFile reads a file of the project's deploy folder.
func deployFile(path ...string) ([]byte, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return os.ReadFile(filepath.Join(append([]string{dir, "deploy"}, path...)...))
		}
		up := filepath.Dir(dir)
		if up == dir {
			return nil, errors.New("no go.mod above the working folder")
		}
		dir = up
	}
}

func writeFiles(dir string, files map[string]string) error {
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// environ is the environment without variables of the given prefixes.
func environ(without ...string) []string {
	var out []string
next:
	for _, v := range os.Environ() {
		for _, w := range without {
			if strings.HasPrefix(v, w) {
				continue next
			}
		}
		out = append(out, v)
	}
	return out
}

// use closes the broker with the test.
func use[B Broker](t testing.TB, b B, err error) B {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}
