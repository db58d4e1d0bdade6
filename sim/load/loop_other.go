//go:build !linux

package load

import "errors"

func (r *run) loop(int) (*Result, error) {
	return nil, errors.New("load: the load generator runs on Linux alone")
}
