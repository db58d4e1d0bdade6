package demo

import "syscall"

// besideUs is how Prometheus runs: Ctrl-C is for the demo, which ends it in its
// turn, and where the demo is killed it ends too.
func besideUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
