//go:build !linux

package demo

import "syscall"

// besideUs is how Prometheus runs.
func besideUs() *syscall.SysProcAttr { return nil }
