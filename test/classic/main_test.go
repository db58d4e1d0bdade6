package classic

import (
	"flag"
	"os"
	"testing"

	"purepool/internal/testkit"
)

// The outages last a minute each, and mostly one waits: they go side by side,
// more of them than there are processors.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	os.Exit(testkit.Main(m))
}
