package logs

import (
	"os"
	"testing"

	"purepool/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m)) }
