package engine

// Receipt is the account of a run: the status at its end and the exit code.
type Receipt struct {
	Status
	ExitCode int    `json:"exit_code"`
	Error    string `json:"error,omitempty"`
}

// Exit codes of a run.
const (
	ExitDone    = 0   // done and drained
	ExitFailed  = 1   // failed while running
	ExitUsage   = 2   // invalid configuration or usage
	ExitStopped = 3   // stopped before it was drained
	ExitForced  = 130 // forced
)

func (e *Engine) receipt() Receipt {
	r := Receipt{Status: e.Status()}
	switch r.Outcome {
	case Failed:
		r.ExitCode = ExitFailed
		r.Error = e.err().Error()
	case Stopped:
		r.ExitCode = ExitStopped
	}
	return r
}

// leftBehind reports whether something that was read was not decided.
func (e *Engine) leftBehind() bool {
	if e.returned.Load() > 0 {
		return true
	}
	for _, n := range e.nodes() {
		if n.count.returned.Load() > 0 {
			return true
		}
	}
	return false
}
