package main

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sampled runs a pipeline, in a process of its own, that reads lines, samples them
// and prints what is left.
func sampled(t *testing.T, lines []string, policy string) (kept []string) {
	t.Helper()
	dir := t.TempDir()
	in, yaml := filepath.Join(dir, "in"), filepath.Join(dir, "pipeline.yaml")
	text := "version: 1\nsources: {in: {type: file, paths: [in], codec: ndjson}}\nsinks: {out: {type: stdout, codec: ndjson}}\n" +
		"edges: [{from: in, to: out, buffer: {events: 1000000, bytes: 1GiB}, policy: {type: sample, " + policy + "}}]\n"
	for path, content := range map[string]string{in: strings.Join(lines, "\n") + "\n", yaml: text} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("pipectl", "run", "--no-live", yaml)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	return strings.Fields(string(out))
}

// TestSampleInTwoProcesses: which keys a keyed sample keeps is the same in every
// process, whatever the order of its events and its seed are, and those of a lower
// rate are among those of a higher one. How many are kept is what chance makes
// likely, with keys and without.
func TestSampleInTwoProcesses(t *testing.T) {
	n := 20_000
	if os.Getenv("PIPECTL_TORTURE") != "" {
		n = 1_000_000
	}
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"trace":"%x"}`, uint64(i)*0x9E3779B97F4A7C15)
	}
	backwards := slices.Clone(lines)
	slices.Reverse(backwards)
	likely := func(what string, kept int, rate float64) {
		t.Helper()
		mean, sigma := float64(n)*rate, math.Sqrt(float64(n)*rate*(1-rate))
		if off := (float64(kept) - mean) / sigma; math.Abs(off) > 4.5 {
			t.Errorf("%s: kept %d of %d at rate %v, which is %.1f sigma off", what, kept, n, rate, off)
		}
	}
	var wider map[string]bool
	for _, rate := range []float64{0.7, 0.3, 0.05} {
		policy := fmt.Sprintf("base_rate: %v, min_rate: %v", rate, rate)
		a, b := sampled(t, lines, policy+", key: trace"), sampled(t, backwards, policy+", key: trace")
		likely("keyed", len(a), rate)
		slices.Reverse(b)
		if !slices.Equal(a, b) {
			t.Errorf("rate %v: one process keeps %d keys, another one %d, and they are not the same", rate, len(a), len(b))
		}
		set := map[string]bool{}
		for _, line := range a {
			if set[line] = true; wider != nil && !wider[line] {
				t.Errorf("rate %v keeps %s, which a higher rate drops", rate, line)
				break
			}
		}
		wider = set
		a, b = sampled(t, lines, policy), sampled(t, lines, policy)
		likely("unkeyed", len(a), rate)
		likely("unkeyed", len(b), rate)
		if slices.Equal(a, b) {
			t.Errorf("rate %v: two processes without keys keep the same events", rate)
		}
	}
}
