// Package diff compares two pipelines: what changed, and what it takes to put
// the change in force while the old one runs.
package diff

// Class says what it takes to put a change in force.
type Class string

// The classes, from the lightest to the heaviest.
const (
	None    Class = "none"    // nothing that the running pipeline would notice
	Live    Class = "live"    // settings take effect at once; no node notices
	Swap    Class = "swap"    // a node is replaced, added or removed; its edges keep what they hold
	Restart Class = "restart" // only a new process can do it
)

// Heavier returns the heavier of two classes.
func Heavier(a, b Class) Class {
	if weight(a) > weight(b) {
		return a
	}
	return b
}

func weight(c Class) int {
	switch c {
	case Live:
		return 1
	case Swap:
		return 2
	case Restart:
		return 3
	}
	return 0
}

// Action says what happened to a part of the pipeline.
type Action string

// The actions.
const (
	Added   Action = "added"
	Removed Action = "removed"
	Changed Action = "changed"
)

// Change is one node, edge or top-level setting that differs.
type Change struct {
	Part   string  `json:"part"`           // source, stage, sink, edge or pipeline
	Name   string  `json:"name,omitempty"` // of the node or the edge; empty for the pipeline
	Action Action  `json:"action"`
	Class  Class   `json:"class"`
	Why    string  `json:"why,omitempty"` // for class restart: why, and what to do
	Fields []Field `json:"fields,omitempty"`

	// MemoryDelta is what the change adds to the worst-case memory, in bytes, and
	// Guarantees what it does to the promises of paths, in words. Only Compare
	// fills them.
	MemoryDelta int64    `json:"memory_delta_bytes,omitempty"`
	Guarantees  []string `json:"guarantees,omitempty"`
}

// Subject names what the change is about: "stage keep", "edge a->b", "pipeline
// limits.memory".
func (c Change) Subject() string {
	name := c.Name
	if name == "" && len(c.Fields) > 0 {
		name = c.Fields[0].Path
	}
	return c.Part + " " + name
}

// Field is one setting that differs. Secrets are shown as ***. One that is added
// has an empty Before, one that is removed an empty After.
type Field struct {
	Path   string `json:"path"` // within the node or edge: "buffer.events", "url"
	Before string `json:"before"`
	After  string `json:"after"`
}
