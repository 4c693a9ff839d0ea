package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pipectl/pipectl/engine/config"
)

// Share is a part of the worst-case memory.
type Share struct {
	// What holds it: "edge a->b", "source in: in flight".
	What  string `json:"what"`
	Bytes int64  `json:"bytes"`
}

// memory sums the byte bounds of edges and windows. An edge may hold one event
// that is larger than its bound, so no edge counts less than one event.
func (r *Report) memory(p *config.Pipeline) {
	for _, e := range p.Edges {
		r.Memory = append(r.Memory, Share{"edge " + e.ID, int64(max(e.Buffer.Bytes, p.Limits.MaxEventBytes))})
	}
	for _, s := range p.Sources {
		if s.MaxInFlight.Bytes > 0 {
			r.Memory = append(r.Memory, Share{"source " + s.Name + ": in flight", int64(s.MaxInFlight.Bytes)})
		}
	}
	for _, m := range r.Memory {
		r.MemoryBytes += m.Bytes
		if r.MemoryBytes < 0 { // buffer.bytes may be set to anything
			r.MemoryBytes = 1<<63 - 1
		}
	}
	slices.SortStableFunc(r.Memory, func(a, b Share) int { return cmp.Compare(b.Bytes, a.Bytes) })
	if r.MemoryLimit > 0 && r.MemoryBytes > r.MemoryLimit {
		r.find(p.At("limits.memory"), config.Error, "memory-limit",
			fmt.Sprintf("edges and windows can hold %s, more than limits.memory of %s; the largest: %s", size(r.MemoryBytes), size(r.MemoryLimit), r.largest(3)),
			"lower buffer.bytes there or in defaults.edge, or raise limits.memory")
	}
}

// largest renders the n largest shares.
func (r *Report) largest(n int) string {
	var parts []string
	for _, m := range r.Memory[:min(n, len(r.Memory))] {
		parts = append(parts, fmt.Sprintf("%s %s", m.What, size(m.Bytes)))
	}
	return strings.Join(parts, ", ")
}

// size renders a number of bytes with at most one decimal.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0") + units[i]
}
