package diff

import (
	"strings"

	"github.com/pipectl/pipectl/engine/pipe"
)

// What a change is about, beside the kinds of nodes.
const (
	PartPipeline = "pipeline"
	PartEdge     = "edge"
)

// pipelineClass classifies a setting of the top level, by its path.
func pipelineClass(path string) (class Class, why string) {
	switch path {
	case "description", "limits.memory", "limits.stall_after", "shutdown.timeout":
		return Live, ""
	case "name":
		return Restart, "metrics, logs and traces carry the name from the start; restart, or keep the name"
	case "limits.max_event_bytes":
		return Restart, "nodes size their buffers by it when they start; restart to change it"
	}
	switch top(path) {
	case "admin":
		return Restart, "the admin endpoint is set up when the process starts; restart to change it"
	case "tracing":
		return Restart, "tracing is set up when the process starts; restart to change it"
	}
	return Restart, "it is read when the process starts; restart to change it"
}

// nodeClass classifies a setting of a node, by its path.
func nodeClass(kind pipe.Kind, path string) (class Class, why string) {
	if class, known := engineClass(kind, top(path)); known {
		if class == Restart {
			why = "a stage keeps its workers while it runs; restart, or give the stage another name to replace it"
		}
		return class, why
	}
	if kind == pipe.KindSource {
		return Restart, "a source keeps its place in its input, and cannot be opened twice; restart to change it"
	}
	return Swap, ""
}

// engineClass classifies the keys that the engine gives nodes. All others are
// the component's, and type.
func engineClass(kind pipe.Kind, key string) (class Class, known bool) {
	switch key {
	case "on_error":
		return Live, true
	case "max_in_flight":
		return Live, kind == pipe.KindSource
	case "timeout", "max_stuck":
		return Live, kind == pipe.KindStage || kind == pipe.KindSink
	case "batch", "concurrency":
		return Live, kind == pipe.KindSink
	case "retry", "deadline", "breaker", "rate_limit":
		return Live, kind == pipe.KindStage || kind == pipe.KindSink
	case "dead_letters":
		return Live, kind == pipe.KindStage || kind == pipe.KindSink
	case "workers", "ordered":
		return Restart, kind == pipe.KindStage
	}
	return None, false
}

// top returns the first key of a path.
func top(path string) string {
	end := strings.IndexAny(path, ".[")
	if end < 0 {
		return path
	}
	return path[:end]
}
