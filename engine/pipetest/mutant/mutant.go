// Package mutant proves tests: it makes mistakes on purpose, one at a time, in a
// copy of a package's source, and demands that the tests notice each.
//
// A package lists its mutants in a test:
//
//	func TestMutants(t *testing.T) {
//		mutant.Test(t, []mutant.Mutant{{
//			Name:  "evicts without counting",
//			File:  "policies.go",
//			Old:   "q.counts.evicted[r].add(1, size)",
//			New:   "",
//			Tests: "TestModel",
//		}})
//	}
//
// Every run checks that the list still fits the source. The mutants themselves
// are run with PIPECTL_MUTANTS=1, since each costs a compilation.
package mutant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Mutant is one mistake.
type Mutant struct {
	Name  string // what the mutant does wrong: "evicts without counting"
	File  string // seen from the package's folder
	Old   string // text that occurs exactly once in File
	New   string // what the mutant has instead
	Tests string // regular expression of the tests that should notice; they alone are run
}

// timeout ends a mutant that hangs, which counts as noticed.
const timeout = 30 * time.Second

// Test runs mutants of the package whose test calls it.
func Test(t *testing.T, mutants []Mutant) {
	t.Helper()
	sources := make([]string, len(mutants))
	for i, m := range mutants {
		sources[i] = m.source(t)
	}
	if os.Getenv("PIPECTL_MUTANTS") == "" {
		t.Logf("%d mutants fit the source; PIPECTL_MUTANTS=1 runs them", len(mutants))
		return
	}
	for i, m := range mutants {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			m.run(t, sources[i])
		})
	}
}

// source returns the text of the mutant's file, with the mistake.
func (m Mutant) source(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(m.File)
	if err != nil {
		t.Fatalf("mutant %q: %v", m.Name, err)
	}
	changed, err := m.apply(string(text))
	if err != nil {
		t.Errorf("mutant %q: %v", m.Name, err)
	}
	return changed
}

func (m Mutant) apply(text string) (string, error) {
	if n := strings.Count(text, m.Old); n != 1 || m.Old == m.New {
		return "", fmt.Errorf("its old text occurs %d times in %s; it must occur once, and the new text must differ", n, m.File)
	}
	return strings.Replace(text, m.Old, m.New, 1), nil
}

func (m Mutant) run(t *testing.T, source string) {
	out, err := goTest(t.Context(), m.overlay(t, source), m.Tests)
	killer, err := verdict(out, err)
	if err != nil {
		t.Errorf("%v\n%s", err, out)
		return
	}
	t.Logf("killed by %s", killer)
}

// verdict says what noticed a mutant, given the output and the error of its
// tests. It is an error if nothing did, or if the tests did not run.
func verdict(out string, err error) (killer string, _ error) {
	var failed *exec.ExitError
	switch {
	case strings.Contains(out, "build failed]") || strings.Contains(out, "[setup failed]"):
		return "", errors.New("the mutant does not compile")
	case strings.Contains(out, "no tests to run"):
		return "", errors.New("the mutant names no test")
	case err == nil:
		return "", errors.New("the mutant survived")
	case !errors.As(err, &failed):
		return "", err
	}
	m := failure.FindStringSubmatch(out)
	switch {
	case m == nil:
		return "", errors.New("the tests failed without saying which")
	case m[1] != "":
		return m[1], nil
	case m[2] != "":
		return "a hang", nil
	}
	return "a panic", nil
}

var failure = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)|^(panic: test timed out)|^(panic|fatal error): `)

// overlay writes the file that makes the go command see the mutant.
func (m Mutant) overlay(t *testing.T, source string) string {
	t.Helper()
	dir := t.TempDir()
	original, err := filepath.Abs(m.File)
	if err != nil {
		t.Fatal(err)
	}
	changed, list := filepath.Join(dir, filepath.Base(m.File)), filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{original: changed}})
	if err == nil {
		err = errors.Join(os.WriteFile(changed, []byte(source), 0o600), os.WriteFile(list, text, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func goTest(ctx context.Context, overlay, tests string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-vet=off", "-count=1", "-timeout="+timeout.String(), "-overlay="+overlay, "-run="+tests, ".")
	cmd.Env = append(os.Environ(), "PIPECTL_MUTANTS=")
	out, err := cmd.CombinedOutput()
	return string(out), err
}
