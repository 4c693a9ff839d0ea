package engine

import (
	"time"

	"github.com/pipectl/pipectl/engine/dlq"
	"github.com/pipectl/pipectl/engine/pipe"
)

// deadLetter turns a failed event into the record that leaves through the
// failed port: what went wrong, where, and the event as it was.
func deadLetter(n *node, f pipe.Failure, attempts int) {
	e := f.Event
	l := dlq.Of(e)
	l.Error = dlq.Sanitise(f.Err.Error(), n.eng.Config().Redact)
	l.Class = pipe.ClassOf(f.Err, pipe.Permanent)
	l.Node, l.Attempts, l.Generation = n.cfg.Name, int64(attempts), n.eng.Generation()
	l.Time = time.Now()
	e.Body = l.Record()
	e.Weigh()
	e.MarkDead()
}
