// Package matrix runs pipelines with every kind of far side, under every policy and
// behind three kinds of sources, and lets one oracle look at each. It has tests
// only.
package matrix

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"

	_ "github.com/pipectl/pipectl/sinks"
	_ "github.com/pipectl/pipectl/sources"
	_ "github.com/pipectl/pipectl/stages"
)

// torture asks for the long form.
var torture = os.Getenv("PIPECTL_TORTURE") != ""

func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", "8") // cells mostly wait
	goleak.VerifyTestMain(m)
}
