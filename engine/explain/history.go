package explain

// History is the recent past of a pipeline in equal steps. All series have as
// many values as Times; what did not exist at a time has 0.
type History struct {
	Every   float64                  `json:"every"` // seconds between two samples
	Times   []int64                  `json:"times"` // unix time in milliseconds
	Edges   map[string]EdgeSeries    `json:"edges"`
	Nodes   map[string]NodeSeries    `json:"nodes"`
	Latency map[string]LatencySeries `json:"latency"` // by sink: from read to confirmation
}

// EdgeSeries is the past of an edge.
type EdgeSeries struct {
	Rate    []float32 `json:"rate"`    // events per second taken out
	Dropped []float32 `json:"dropped"` // events per second
	Fill    []float32 `json:"fill"`    // by events or bytes, whichever is more; 1 is full
	Blocked []float32 `json:"blocked"` // share of the time that a producer waited
}

// NodeSeries is the past of a node: rates in events per second, the rest shares
// of its workers' time.
type NodeSeries struct {
	Rate      []float32 `json:"rate"`     // taken in, or read
	OutRate   []float32 `json:"out_rate"` // handed on, or delivered
	Busy      []float32 `json:"busy"`
	Idle      []float32 `json:"idle"`
	Blocked   []float32 `json:"blocked"`
	Throttled []float32 `json:"throttled"`
	External  []float32 `json:"external"`
}

// LatencySeries is the past of a sink's latency in seconds, of what it delivered
// since the sample before; 0 where nothing was.
type LatencySeries struct {
	P50 []float32 `json:"p50"`
	P95 []float32 `json:"p95"`
	P99 []float32 `json:"p99"`
}
