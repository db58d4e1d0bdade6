// Package zmqtest publishes new blocks for tests: from libzmq, as every daemon
// does. Debian's litecoind is built without it, so that a publisher stands beside
// and is told by -blocknotify.
package zmqtest

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"purepool/internal/testkit"
	"purepool/pool/chain"
)

//go:embed testdata/publisher.c
var source []byte

// Publisher is a publisher in a process of its own, at an address of its own.
type Publisher struct {
	Address string // tcp://host:port

	t         testing.TB
	program   string
	fifo      string
	heartbeat time.Duration
	cmd       *exec.Cmd
	in        *os.File
}

// New starts a publisher, which ends with the test. With a heartbeat it drops
// subscribers that do not answer.
func New(t testing.TB, heartbeat time.Duration) *Publisher {
	t.Helper()
	dir := t.TempDir()
	p := &Publisher{
		t: t, Address: "tcp://" + testkit.FreeAddress(t), program: filepath.Join(dir, "publisher"), fifo: filepath.Join(dir, "blocks"), heartbeat: heartbeat,
	}
	text := p.program + ".c"
	must(t, os.WriteFile(text, source, 0o600))
	// scripts/deps test installs what this needs.
	testkit.Command(t, "cc", "-O1", "-Wall", "-Werror", "-o", p.program, text, "-l:libzmq.so.5")
	must(t, syscall.Mkfifo(p.fifo, 0o600))
	t.Cleanup(p.Kill)
	p.Start()
	return p
}

// Start starts it where it does not run, as after Kill.
func (p *Publisher) Start() {
	p.t.Helper()
	if p.cmd != nil {
		return
	}
	var err error
	// Open for both, so that neither side ever waits for the other.
	p.in, err = os.OpenFile(p.fifo, os.O_RDWR, 0)
	must(p.t, err)
	p.cmd = exec.CommandContext(context.WithoutCancel(p.t.Context()), p.program, p.Address)
	if p.heartbeat > 0 {
		p.cmd.Args = append(p.cmd.Args, fmt.Sprint(p.heartbeat.Milliseconds()))
	}
	p.cmd.Stdin = p.in
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := p.cmd.StdoutPipe()
	must(p.t, err)
	must(p.t, p.cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "bound\n" {
		p.t.Fatalf("the publisher said %q: %v", line, err)
	}
}

// Kill ends it as a power cut would.
func (p *Publisher) Kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	_ = p.in.Close()
	p.cmd = nil
}

// NotifyCommand is what a daemon's -blocknotify must run for its blocks to be
// published. It opens the pipe for both directions: that waits for nobody.
func (p *Publisher) NotifyCommand() string { return "echo %s 1<> " + p.fifo }

// Publish publishes blocks.
func (p *Publisher) Publish(blocks ...chain.Hash) {
	p.t.Helper()
	for _, b := range blocks {
		p.write(b.String())
	}
}

// Skip lets a number out, as where a message was lost.
func (p *Publisher) Skip() { p.t.Helper(); p.write("skip") }

func (p *Publisher) write(line string) {
	p.t.Helper()
	_, err := io.WriteString(p.in, line+"\n")
	must(p.t, err)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
