package house

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Process is one running purepool.
type Process struct {
	h    *House
	cmd  *exec.Cmd
	out  Tail
	done chan struct{}
}

// Start starts the program in a role and does not wait for it.
func (h *House) Start(role string, args ...string) *Process {
	h.t.Helper()
	p := &Process{h: h, done: make(chan struct{})}
	config := h.Config
	if role == "frontend" {
		config = h.frontendConfig()
	}
	p.cmd = exec.Command(h.binary, append([]string{role, "--config", config}, args...)...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if h.Tee != nil {
		both := io.MultiWriter(&p.out, h.Tee)
		p.cmd.Stdout, p.cmd.Stderr = both, both
	}
	// Should the test process be killed, the program must not go on without it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(h.t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	h.t.Cleanup(func() {
		p.Kill()
		if h.t.Failed() {
			h.t.Logf("purepool %s said last:\n%s", role, p.out.String())
		}
	})
	return p
}

// Run starts the program in a role and waits until it is ready.
func (h *House) Run(role string, args ...string) *Process {
	h.t.Helper()
	p := h.Start(role, args...)
	health := h.Health
	if role == "backend" {
		health = h.Backend
	}
	p.WaitReady(health, 30*time.Second)
	return p
}

// WaitReady waits until /readyz at the address says yes.
func (p *Process) WaitReady(address string, within time.Duration) {
	p.h.t.Helper()
	deadline := time.Now().Add(within)
	for {
		if ready(p.h.t.Context(), address) {
			return
		}
		select {
		case <-p.done:
			p.h.t.Fatalf("purepool ended before it was ready:\n%s", p.out.String())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.h.t.Fatalf("purepool not ready within %v:\n%s", within, p.out.String())
		}
	}
}

func ready(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode == http.StatusOK
}

// Signal sends the process a signal.
func (p *Process) Signal(s os.Signal) {
	p.h.t.Helper()
	must(p.h.t, p.cmd.Process.Signal(s))
}

// Kill ends the process with SIGKILL and waits for its end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Stop asks the process to end, waits, and returns its exit code.
func (p *Process) Stop() int {
	p.h.t.Helper()
	must(p.h.t, p.cmd.Process.Signal(os.Interrupt))
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		p.h.t.Fatalf("purepool did not stop:\n%s", p.out.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output is the last that the process printed.
func (p *Process) Output() string { return p.out.String() }
