// Bench measures whole pipelines against hand-written Go loops that do the same
// work, each in a process of its own, and prints the ratios of CPU and wall
// time. Usage: go run ./engine/bench [-events 1000000] [-rounds 5] [-job name]
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"syscall"
	"time"
)

func all(span time.Duration, events, rounds int, only, dir string) error {
	if err := bench(events, rounds, only, dir); err != nil || only != "" {
		return err
	}
	if err := latency(); err != nil {
		return err
	}
	if err := startup(1000); err != nil || span == 0 {
		return err
	}
	return overload(span)
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		if err := child(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	events := flag.Int("events", 1_000_000, "events in the input")
	rounds := flag.Int("rounds", 5, "runs of each; the median is reported")
	only := flag.String("job", "", "run one job only")
	dir := flag.String("dir", "", "where the files go (default: a temporary folder)")
	turns := flag.Int("scrape", 0, "also measure what metrics cost, in so many pairs of turns of 3 s")
	span := flag.Duration("overload", 0, "also run every policy under overload for this long")
	flag.Parse()
	if *turns > 0 {
		if err := scrape(*turns); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
	}
	if err := all(*span, *events, *rounds, *only, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// child runs one job in this process: child hand|pipectl JOB INPUT DIR.
func child(args []string) error {
	if args[0] == "overload" {
		return overloadChild(args[1], args[2])
	}
	j, ok := jobs[args[1]]
	if !ok {
		return fmt.Errorf("no job %q", args[1])
	}
	stop, err := profile()
	if err != nil {
		return err
	}
	defer stop()
	if args[0] == "hand" {
		return j.hand(args[2], args[3])
	}
	return runPipeline(j.yaml(args[2], args[3]))
}

// cost is what one run took.
type cost struct {
	cpu, wall time.Duration
	rss       int64
}

func bench(events, rounds int, only, dir string) error {
	if dir == "" {
		tmp, err := os.MkdirTemp("", "pipectl-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		dir = tmp
	}
	input := filepath.Join(dir, "events.ndjson")
	size, err := generate(input, events)
	if err != nil {
		return err
	}
	fmt.Printf("%d events, %d bytes each on average, medians of %d runs, one process each\n\n", events, size/int64(events), rounds)
	fmt.Printf("%-12s %14s %14s %7s   %14s %14s %7s %12s %9s\n", "job", "hand CPU", "pipectl CPU", "ratio", "hand wall", "pipectl wall", "ratio", "events/s", "peak RSS")
	for _, name := range jobNames {
		if only != "" && only != name {
			continue
		}
		if err := compare(name, input, dir, events, rounds); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// compare runs a job both ways, in turns, and checks that both wrote the same.
func compare(name, input, dir string, events, rounds int) error {
	var hand, ours []cost
	for range rounds {
		h, err := measure("hand", name, input, filepath.Join(dir, "hand"))
		if err != nil {
			return err
		}
		p, err := measure("pipectl", name, input, filepath.Join(dir, "pipectl"))
		if err != nil {
			return err
		}
		hand, ours = append(hand, h), append(ours, p)
	}
	if err := sameFiles(filepath.Join(dir, "hand"), filepath.Join(dir, "pipectl")); err != nil {
		return err
	}
	h, p := median(hand), median(ours)
	fmt.Printf("%-12s %14v %14v %7.2f   %14v %14v %7.2f %12.0f %7d MiB\n", name,
		h.cpu.Round(time.Millisecond), p.cpu.Round(time.Millisecond), float64(p.cpu)/float64(h.cpu),
		h.wall.Round(time.Millisecond), p.wall.Round(time.Millisecond), float64(p.wall)/float64(h.wall),
		float64(events)/p.wall.Seconds(), p.rss>>20)
	return nil
}

func measure(who, job, input, dir string) (cost, error) {
	if err := os.RemoveAll(dir); err != nil {
		return cost{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return cost{}, err
	}
	cmd := exec.Command(os.Args[0], "child", who, job, input, dir)
	cmd.Stderr = os.Stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return cost{}, fmt.Errorf("%s: %w", who, err)
	}
	wall := time.Since(start)
	use := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return cost{cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), wall, use.Maxrss << 10}, nil
}

func median(all []cost) cost {
	cpu, wall, rss := make([]time.Duration, 0, len(all)), make([]time.Duration, 0, len(all)), int64(0)
	for _, c := range all {
		cpu, wall, rss = append(cpu, c.cpu), append(wall, c.wall), max(rss, c.rss)
	}
	slices.Sort(cpu)
	slices.Sort(wall)
	return cost{cpu[len(cpu)/2], wall[len(wall)/2], rss}
}

// sameFiles fails unless both folders hold the same files with the same bytes.
// It reads them in pieces: a child's peak RSS begins with that of its parent.
func sameFiles(a, b string) error {
	files, err := os.ReadDir(a)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := sameFile(filepath.Join(a, f.Name()), filepath.Join(b, f.Name())); err != nil {
			return err
		}
	}
	return nil
}

func sameFile(a, b string) error {
	x, err := os.Open(a)
	if err != nil {
		return err
	}
	defer x.Close()
	y, err := os.Open(b)
	if err != nil {
		return err
	}
	defer y.Close()
	p, q := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := 0; ; {
		n, err := io.ReadFull(x, p)
		m, _ := io.ReadFull(y, q)
		if !bytes.Equal(p[:n], q[:m]) {
			return fmt.Errorf("%s and %s differ after byte %d", a, b, at)
		}
		if at += n; err != nil {
			return nil
		}
	}
}

// profile writes CPU and heap profiles of a child to the folder that
// PIPECTL_PROFILE names, if it does.
func profile() (stop func(), err error) {
	dir := os.Getenv("PIPECTL_PROFILE")
	if dir == "" {
		return func() {}, nil
	}
	f, err := os.Create(filepath.Join(dir, "cpu.pprof"))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close()
	}, nil
}
