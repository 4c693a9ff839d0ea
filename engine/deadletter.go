package engine

import (
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// deadLetter turns a failed event into the record that leaves through the
// failed port: what went wrong, where, and the event as it was.
func deadLetter(n *node, f pipe.Failure, attempts int) {
	e := f.Event
	r := record.NewObject(nil, 8)
	r.Add(nil, "error", record.Str(f.Err.Error()))
	r.Add(nil, "class", record.Str(string(pipe.ClassOf(f.Err, pipe.Permanent))))
	r.Add(nil, "node", record.Str(n.cfg.Name))
	r.Add(nil, "attempts", record.Int(int64(attempts), nil))
	r.Add(nil, "time", record.Str(time.Now().UTC().Format(time.RFC3339Nano)))
	r.Add(nil, "id", record.Str(e.ID()))
	r.Add(nil, "origin", record.Str(e.Origin()))
	if e.Body.IsText() {
		r.Add(nil, "event", record.Text(e.Body.AppendText(nil)))
	} else {
		r.Add(nil, "event", record.RawJSON(e.Body.AppendJSON(nil)))
	}
	e.Body = r
	e.Weigh()
	e.MarkDead()
}
