package engine

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// torture asks for the long form of the randomised tests.
var torture = os.Getenv("PIPECTL_TORTURE") != ""

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
