package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
)

// overloadYAML offers events of about 260 bytes ten times faster than they are
// taken, through edges with default bounds and the given policy.
func overloadYAML(policy string) string {
	return fmt.Sprintf(`version: 1
name: overload
sources:
  in: {type: generate, rate: 20000/s, event: {seq: seq, text: '%q'}}
stages:
  fan: {type: filter, where: 'true'}
  slow: {type: delay, for: 500us}
sinks: {out: {type: discard}}
edges:
  - in -> fan
  - {from: fan, to: slow, policy: %s}
  - slow -> out
`, strings.Repeat("x", 220), policy)
}

// overload runs each policy under ten times the load for d and reports the peak
// resident memory of the process.
func overload(d time.Duration) error {
	fmt.Printf("\npeak RSS under 10x overload for %v, default bounds\n", d)
	for _, policy := range []string{"block", "drop-oldest", "drop-newest", "drop-random", "{type: sample, base_rate: 1.0, min_rate: 0.01, threshold: 0.5}"} {
		cmd := exec.Command(os.Args[0], "child", "overload", policy, d.String())
		cmd.Stderr = os.Stderr
		peak, err := cmd.Output()
		if err != nil {
			return err
		}
		fmt.Printf("%-70s %s\n", policy, strings.TrimSpace(string(peak)))
	}
	return nil
}

func overloadChild(policy, d string) error {
	span, err := time.ParseDuration(d)
	if err != nil {
		return err
	}
	e, err := build(overloadYAML(policy))
	if err != nil {
		return err
	}
	time.AfterFunc(span, e.Drain)
	r, err := e.Run(context.Background())
	if err == nil && r.Balance.Error != 0 {
		err = fmt.Errorf("the books do not balance: %+v", r.Balance)
	}
	if err == nil {
		err = printPeak()
	}
	return err
}

// printPeak prints the peak resident memory of this process. What the parent sees
// of it after the end would include the parent's own.
func printPeak() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fmt.Errorf("peak memory is read from /proc, which this system does not have: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if peak, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			fmt.Println(strings.TrimSpace(peak))
		}
	}
	return nil
}

func build(yaml string) (*engine.Engine, error) {
	cfg, diags := config.Parse([]byte(yaml), config.Options{File: "bench.yaml"})
	if err := diags.Err(); err != nil {
		return nil, err
	}
	return engine.New(cfg, engine.Options{})
}

// startup reports how long a chain of n nodes takes from text to the first
// event's delivery at its end.
func startup(n int) error {
	var y strings.Builder
	y.WriteString("version: 1\nname: long\nsources: {in: {type: generate, count: 1}}\nstages:\n")
	chain := "in"
	for i := range n - 2 {
		fmt.Fprintf(&y, "  s%d: {type: filter, where: 'true'}\n", i)
		chain += fmt.Sprintf(" -> s%d", i)
	}
	fmt.Fprintf(&y, "sinks: {out: {type: discard}}\nedges:\n  - %s -> out\n", chain)
	start := time.Now()
	e, err := build(y.String())
	if err != nil {
		return err
	}
	built := time.Since(start)
	if _, err := e.Run(context.Background()); err != nil {
		return err
	}
	fmt.Printf("\n%d nodes: checked and built in %v, first event through and shut down after %v\n", n, built.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
	return nil
}
