package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// launched are the programs that a script has started, by name.
type launched map[string]*exec.Cmd

const launchedKey = "launched"

var pageLine = regexp.MustCompile(`live page.*(https?://[^ "]+[^/ "])/`)

// launch NAME PROGRAM ARGS... starts pipectl and waits until it says where its
// live page is, which NAME becomes in the environment, without the last slash.
// What it writes to standard error goes to the file NAME.log. It ends with
// finish, or with the script.
func launch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: launch NAME PROGRAM ARGS...")
	}
	errs, err := os.Create(ts.MkAbs(args[0] + ".log"))
	ts.Check(err)
	defer errs.Close()
	cmd := exec.Command(args[1], args[2:]...)
	cmd.Dir, cmd.Stderr = ts.MkAbs("."), errs
	cmd.Env = append(os.Environ(), "PIPECTL_TOKEN="+ts.Getenv("PIPECTL_TOKEN"))
	ts.Check(cmd.Start())
	ts.Value(launchedKey).(launched)[args[0]] = cmd
	ts.Defer(func() { cmd.Process.Kill() })
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if m := pageLine.FindStringSubmatch(ts.ReadFile(args[0] + ".log")); m != nil {
			ts.Setenv(args[0], m[1])
			return
		}
	}
	ts.Fatalf("no live page:\n%s", ts.ReadFile(args[0]+".log"))
}

// finish NAME CODE ends what was launched with SIGTERM and demands its exit code.
func finish(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: finish NAME CODE")
	}
	cmd := ts.Value(launchedKey).(launched)[args[0]]
	if err := cmd.Process.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		ts.Check(err)
	}
	if got := strconv.Itoa(exitCode(ts, cmd.Wait())); got != args[1] {
		ts.Fatalf("%s: exit code %s, want %s:\n%s", args[0], got, args[1], ts.ReadFile(args[0]+".log"))
	}
}

// headers collects -H options.
type headers []string

func (h *headers) String() string     { return strings.Join(*h, ", ") }
func (h *headers) Set(s string) error { *h = append(*h, s); return nil }

// ask is the program `ask METHOD URL [-H 'Name: value'] [-d BODY] [-until TEXT]`:
// it makes one request and prints the status and the body. With -until it asks
// again until the answer has the text; of a stream it prints what came up to it.
func ask() {
	var sent headers
	f := flag.NewFlagSet("ask", flag.ExitOnError)
	f.Var(&sent, "H", "header")
	body := f.String("d", "", "body; @FILE for that of a file")
	until := f.String("until", "", "text to wait for")
	f.Parse(os.Args[3:])
	if file, ok := strings.CutPrefix(*body, "@"); ok {
		data, err := os.ReadFile(file)
		failIf(err)
		*body = string(data)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		answer, found := askOnce(os.Args[1], os.Args[2], sent, *body, *until)
		if found || *until == "" {
			fmt.Print(answer)
			return
		}
		if time.Now().After(end) {
			failIf(fmt.Errorf("%q did not come; the last answer was:\n%s", *until, answer))
		}
	}
}

func askOnce(method, url string, sent headers, body, until string) (answer string, found bool) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	failIf(err)
	for _, h := range sent {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			req.Host = value
		}
		req.Header.Set(name, value)
	}
	client := &http.Client{Timeout: 20 * time.Second}
	resp, err := client.Do(req)
	failIf(err)
	defer resp.Body.Close()
	var b strings.Builder
	fmt.Fprintln(&b, resp.StatusCode)
	for r := bufio.NewReader(resp.Body); ; {
		line, err := r.ReadString('\n')
		b.WriteString(line)
		if until != "" && strings.Contains(line, until) {
			return b.String(), true
		}
		if err == io.EOF {
			return b.String(), false
		}
		failIf(err)
	}
}

func failIf(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "ask:", err)
		os.Exit(1)
	}
}
