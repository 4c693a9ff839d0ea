package main

import (
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"sync"

	"github.com/pipectl/pipectl/engine/pipe"
)

// gcPercent is how much the heap may grow over what is live before it is
// collected. A pipeline makes much short-lived memory around little live data.
// Filtering a million events of 264 bytes took 1.1 CPU seconds and 28 MB with
// Go's own 100, 0.70 and 45 MB with 300, and no less with more. GOGC overrides it.
const gcPercent = 300

// memoryReserve is what the process needs beside queued events, in bytes: code,
// stacks, read buffers and the batches being worked on.
const memoryReserve = 64 << 20

// processMemory fits the process to the memory it may use.
type processMemory struct {
	log       *slog.Logger
	container int64 // bytes that the process may use, 0 when there is no limit

	mu   sync.Mutex // guards last
	last int64      // the limits.memory of the last call, -1 before
}

// tuneMemory sets the garbage collector up for a pipeline and returns what
// engine.Options.Memory wants.
func tuneMemory(log *slog.Logger) func(limit int64) (budget int64) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	m := &processMemory{log: log, container: containerMemory("/proc/self/cgroup", "/sys/fs/cgroup"), last: -1}
	return m.budget
}

// budget works out the memory budget from limits.memory, says so if it is another
// one, and sets the soft limit of Go's memory, unless GOMEMLIMIT does.
func (m *processMemory) budget(limit int64) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	budget, soft := fitMemory(limit, m.container)
	if limit != m.last {
		m.tell(limit, budget)
		m.last = limit
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(soft)
	}
	return budget
}

// tell logs a budget that is not the one in the file.
func (m *processMemory) tell(limit, budget int64) {
	attrs := []any{"budget", pipe.Size(budget).String(), "container", pipe.Size(m.container).String()}
	switch {
	case limit == 0 && budget > 0:
		m.log.Info("memory budget is what the container's memory leaves; limits.memory sets another one", attrs...)
	case budget < limit:
		m.log.Warn("limits.memory is more than the container's memory leaves, so the budget is lower",
			append(attrs, "limit", pipe.Size(limit).String())...)
	}
}

// fitMemory returns the budget of what a pipeline may hold and the soft limit of
// Go's memory, both in bytes. limit is limits.memory and container the memory of
// the container, each 0 when there is none.
//
// The soft limit is twice the budget and memoryReserve: full edges must not let the
// heap grow to four times what they hold, as gcPercent would, but at the budget
// itself the collector would never rest. Nine tenths of the container's memory are
// for Go's; the kernel counts file caches and socket buffers, too. The budget there
// is a third of what memoryReserve leaves of them: what moves takes memory that is
// not accounted (requests being built, buffers being read into), and a heap that grows
// fast passes its soft limit.
func fitMemory(limit, container int64) (budget, soft int64) {
	budget, soft = limit, math.MaxInt64
	if container > 0 {
		soft = container / 10 * 9
		left := max((soft-memoryReserve)/3, container/16)
		if limit == 0 || limit > left {
			budget = left >> 20 << 20 // to be read by people
		}
	}
	if budget > 0 && budget < math.MaxInt64/4 {
		soft = min(soft, 2*budget+memoryReserve)
	}
	return budget, soft
}
