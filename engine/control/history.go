package control

import (
	"slices"
	"time"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/diff"
	"github.com/pipectl/pipectl/engine/expr"
)

// kept is how many generations are remembered.
const kept = 10

// Entry is one generation of the configuration.
type Entry struct {
	Generation  uint64        `json:"generation"`
	At          time.Time     `json:"at"`
	Who         string        `json:"who"` // "start" for the first
	Class       diff.Class    `json:"class,omitempty"`
	Changes     []diff.Change `json:"changes,omitempty"`
	RevertOf    uint64        `json:"revert_of,omitempty"` // the generation that this one takes back
	ConfirmedBy string        `json:"confirmed_by,omitempty"`
	RevertedBy  string        `json:"reverted_by,omitempty"`
	RevertedWhy string        `json:"reverted_why,omitempty"`
}

// Last is what came of the last change that was tried. Changes that came at the
// wrong moment, dry runs and unknown edges do not count: they say nothing about
// a configuration.
type Last struct {
	Success    bool      `json:"success"` // also before the first one
	At         time.Time `json:"at"`
	Generation uint64    `json:"generation"` // in force since
	Who        string    `json:"who"`
	Error      string    `json:"error,omitempty"` // one line
	Trial      *Trial    `json:"trial,omitempty"` // what is on trial now
}

// Last returns what came of the last change that was tried.
func (c *Controller) Last() Last {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.last
	if c.trial != nil {
		t := c.trial.Trial
		last.Trial = &t
	}
	return last
}

// History returns the last ten generations, the newest last.
func (c *Controller) History() []Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.past)
}

// enter notes a change that has been made, and begins its trial.
func (c *Controller) enter(o Change, before *config.Pipeline, out *Outcome, guard *expr.Guard) {
	base := c.engine.Status()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remember(Entry{Generation: out.Generation, At: out.At, Who: o.Who, Class: out.Class, Changes: out.Changes})
	c.undo = trim(append(c.undo, undo{out.Generation, before}))
	c.begin(o, base, guard, out)
}

// remember adds an entry. The caller holds c.mu.
func (c *Controller) remember(e Entry) { c.past = trim(append(c.past, e)) }

// trim keeps the newest.
func trim[T any](list []T) []T {
	return slices.Delete(list, 0, max(0, len(list)-kept))
}

// amend changes the entry of a generation, if it is still kept.
func (c *Controller) amend(generation uint64, f func(*Entry)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.past {
		if c.past[i].Generation == generation {
			f(&c.past[i])
		}
	}
}
