package engine

import "github.com/pipectl/pipectl/engine/pipe"

// thinning notices stages that let little through and copies what they do let
// through into memory of its own: otherwise one kept event in a hundred would
// pin the read buffers of all hundred.
type thinning struct{ seen, kept int }

const thinWindow = 2048

func (t *thinning) apply(out *pipe.Out, ports int) {
	kept := 0
	for i := range ports {
		kept += len(out.Port(i))
	}
	t.seen += kept + len(out.Filtered()) + len(out.Failed())
	t.kept += kept
	if t.seen > thinWindow {
		t.seen, t.kept = t.seen/2, t.kept/2
	}
	if t.kept*4 >= t.seen {
		return
	}
	for i := range ports {
		events := out.Port(i)
		for j, e := range events {
			events[j] = e.Detach()
		}
	}
}
