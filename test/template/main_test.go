package template_test

import (
	"os"
	"testing"

	program "purepool/test/house"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }
