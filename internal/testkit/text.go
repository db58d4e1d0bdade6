package testkit

import (
	"bytes"
	"sync"
)

// Text collects what programs print or log. Safe for concurrent use.
type Text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write is part of io.Writer.
func (t *Text) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

// String is all that was printed until now.
func (t *Text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}
