package bbprpc_test

import (
	"testing"

	"go.uber.org/goleak"
)

// Every goroutine ends with the client that started it.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
