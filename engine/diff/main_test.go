package diff_test

import (
	_ "github.com/pipectl/pipectl/sinks"
	_ "github.com/pipectl/pipectl/sources"
	_ "github.com/pipectl/pipectl/stages"
)
