package metrics_test

import (
	"os"
	"testing"

	"purepool/test/house"
)

func TestMain(m *testing.M) { os.Exit(house.Main(m)) }
