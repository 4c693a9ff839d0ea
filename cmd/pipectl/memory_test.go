package main

import (
	"bytes"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

// TestContainerMemory reads the limits of control groups as Linux shows them.
func TestContainerMemory(t *testing.T) {
	f := func(want int64, self string, files ...string) {
		t.Helper()
		dir := t.TempDir()
		if self != "" {
			files = append(files, "self", self)
		}
		for i := 0; i < len(files); i += 2 {
			path := filepath.Join(dir, files[i])
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(files[i+1]+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := containerMemory(filepath.Join(dir, "self"), dir); got != want {
			t.Errorf("%q with %v: got %d, want %d", self, files, got, want)
		}
	}
	const v1 = "12:cpu,cpuacct:/x\n4:memory:/docker/abc\n1:name=systemd:/y"
	f(0, "")
	f(0, "0::/")
	f(0, "0::/", "memory.max", "max")
	f(1<<28, "0::/", "memory.max", "268435456")
	f(100<<20, "0::/", "memory.max", "268435456", "memory.high", "104857600")
	f(5000, "0::/a/b", "a/b/memory.max", "max", "a/memory.max", "5000", "memory.max", "9000")
	f(4000, "0::/a/b", "a/b/memory.max", "4000", "a/memory.max", "5000")
	f(4000, "0::/kubepods/pod1/of-the-host", "memory.max", "4000") // as seen inside
	f(4000, v1, "memory/docker/abc/memory.limit_in_bytes", "4000", "memory/memory.limit_in_bytes", "9223372036854771712")
	f(3000, v1, "memory/memory.limit_in_bytes", "3000")
	f(0, v1, "memory/docker/abc/memory.limit_in_bytes", "9223372036854771712")
	f(0, v1, "memory/docker/abc/memory.limit_in_bytes", "nonsense")
	f(2000, v1+"\n0::/", "memory.max", "2000", "memory/memory.limit_in_bytes", "3000") // both at once
	f(0, "nonsense")
	f(0, "0::/../..", "memory.max", "max")
}

func TestFitMemory(t *testing.T) {
	f := func(limit, container, budget, soft int64) {
		t.Helper()
		if b, s := fitMemory(limit, container); b != budget || s != soft {
			t.Errorf("limits.memory %d in a container of %d: budget %d and soft limit %d, want %d and %d", limit, container, b, s, budget, soft)
		}
	}
	const mib = 1 << 20
	f(0, 0, 0, math.MaxInt64)
	f(100*mib, 0, 100*mib, 264*mib)
	f(math.MaxInt64, 0, math.MaxInt64, math.MaxInt64)
	f(0, 1000*mib, 278*mib, 620*mib)
	f(100*mib, 1000*mib, 100*mib, 264*mib)
	f(278*mib, 1000*mib, 278*mib, 620*mib)
	f(900*mib, 1000*mib, 278*mib, 620*mib)
	f(0, 40*mib, 2*mib, 36*mib)
	f(1*mib, 40*mib, 1*mib, 36*mib)
}

// TestMemoryIsTold: a budget that is not in the file is logged, once.
func TestMemoryIsTold(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "off") // leave this process alone
	f := func(container int64, want string, limits ...int64) {
		t.Helper()
		var log bytes.Buffer
		m := &processMemory{log: slog.New(slog.NewTextHandler(&log, nil)), container: container, last: -1}
		for _, l := range limits {
			m.budget(l)
		}
		var got []string
		for line := range strings.Lines(log.String()) {
			_, attrs, _ := strings.Cut(strings.TrimSpace(line), " level=")
			level, _, _ := strings.Cut(attrs, " ")
			_, budget, _ := strings.Cut(attrs, "budget=")
			got = append(got, level+" "+budget)
		}
		if text := strings.Join(got, "; "); text != want {
			t.Errorf("%v in %d: logged %q, want %q", limits, container, text, want)
		}
	}
	f(0, "", 0, 1<<30, 0)
	f(1000<<20, "INFO 278MiB container=1000MiB", 0, 0, 0)
	f(1000<<20, "", 100<<20)
	f(1000<<20, "WARN 278MiB container=1000MiB limit=1GiB; INFO 278MiB container=1000MiB", 1<<30, 1<<30, 1<<20, 0)
}

// TestMemoryLimitIsSet: the soft limit of Go's memory follows limits.memory, unless
// somebody has set GOMEMLIMIT.
func TestMemoryLimitIsSet(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	f := func(explicit string, limit, want int64) {
		t.Helper()
		t.Setenv("GOMEMLIMIT", explicit)
		debug.SetMemoryLimit(12345 << 20)
		m := &processMemory{log: slog.New(slog.DiscardHandler), container: 4 << 30}
		m.budget(limit)
		if got := debug.SetMemoryLimit(-1); got != want {
			t.Errorf("GOMEMLIMIT %q, limits.memory %d: the limit is %d, want %d", explicit, limit, got, want)
		}
	}
	f("", 500<<20, 1064<<20)
	f("", 0, 2478<<20)
	f("100MiB", 500<<20, 12345<<20)
	f("off", 500<<20, 12345<<20)
}
