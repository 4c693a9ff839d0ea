package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite golden files")

// atExit is how long a program built with -race waits at its end, a second unless
// told otherwise: too long for scripts that start many.
const atExit = "atexit_sleep_ms=10"

// TestMain makes this test binary serve as pipectl in scripts.
func TestMain(m *testing.M) {
	os.Setenv("GORACE", atExit)
	testscript.Main(allTests{m}, map[string]func(){"pipectl": main, "ask": ask})
}

// allTests are the tests of this package, as opposed to pipectl in a script.
type allTests struct{ *testing.M }

func (a allTests) Run() int {
	os.Unsetenv("PIPECTL_ADDR") // of whoever runs the tests
	os.Unsetenv("PIPECTL_TOKEN")
	return a.M.Run()
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		UpdateScripts:       *update,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":    exits,
			"receipt":  receiptHas,
			"occupy":   occupy,
			"unheard":  unheard,
			"lastline": lastLine,
			"launch":   launch,
			"finish":   finish,
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("GORACE", atExit)
			env.Values[launchedKey] = launched{}
			return nil
		},
	})
}

// exits CODE PROGRAM ARGS... runs a program and demands an exit code. Its output
// is there for stdout and stderr, as after exec.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := exitCode(ts, ts.Exec(args[1], args[2:]...)); got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func exitCode(ts *testscript.TestScript, err error) int {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Check(err)
	}
	if exit == nil {
		return 0
	}
	return exit.ExitCode()
}

// receipt FILE PATH=VALUE... checks values of a JSON file; a path's parts are
// separated by slashes: edges/in->out/delivered=3. PATH=* wants any value.
func receiptHas(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: receipt FILE PATH=VALUE...")
	}
	var doc any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &doc))
	for _, arg := range args[1:] {
		path, want, _ := strings.Cut(arg, "=")
		v := doc
		for _, key := range strings.Split(path, "/") {
			m, ok := v.(map[string]any)
			if v = m[key]; !ok || v == nil {
				ts.Fatalf("%s: no %s in %s", args[0], path, ts.ReadFile(args[0]))
			}
		}
		if got := fmt.Sprint(v); want != "*" && got != want {
			ts.Fatalf("%s: %s is %s, want %s", args[0], path, got, want)
		}
	}
}

// occupy NAME listens on a free port until the script ends and puts its address
// into the environment.
func occupy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: occupy NAME")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], l.Addr().String())
}

// unheard CODE PROGRAM ARGS... runs a program whose standard output nobody reads
// any more. What it writes to standard error is left in the file "stderr".
func unheard(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: unheard CODE PROGRAM ARGS...")
	}
	r, w, err := os.Pipe()
	ts.Check(err)
	ts.Check(r.Close())
	errs, err := os.Create(ts.MkAbs("stderr"))
	ts.Check(err)
	defer errs.Close()
	cmd := exec.Command(args[1], args[2:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), w, errs
	ts.Check(cmd.Start())
	w.Close()
	err = cmd.Wait()
	if got := strconv.Itoa(exitCode(ts, err)); got != args[0] {
		ts.Fatalf("exit code %s (%v), want %s; stderr:\n%s", got, err, args[0], ts.ReadFile("stderr"))
	}
}

// lastline FILE TEXT checks that a file, stdout or stderr ends with a line that
// has the text.
func lastLine(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: lastline FILE TEXT")
	}
	lines := strings.Split(strings.TrimSpace(ts.ReadFile(args[0])), "\n")
	if got := lines[len(lines)-1]; strings.Contains(got, args[1]) == neg {
		ts.Fatalf("last line is %q", got)
	}
}

func init() {
	pipe.RegisterSink("test_hang", func() pipe.Sink { return &hang{} })
}

// hang is a sink that never comes back, whatever its context says.
type hang struct{}

func (*hang) Write(context.Context, []*pipe.Event) error {
	fmt.Fprintln(os.Stderr, "test_hang holds events")
	select {}
}

func (*hang) Close(context.Context) error { select {} }
