package hosts

import "testing"

func testRolling(t *testing.T, p *pool, l *load) {}
