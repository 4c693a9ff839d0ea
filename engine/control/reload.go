package control

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
)

// reloadLimit bounds a reload of the file once it has begun. It does not end
// with the caller's patience, since others may wait for the same reload.
const reloadLimit = 30 * time.Second

// request is a reload of the file that one or more callers wait for.
type request struct {
	who  []string
	done chan struct{} // closed when what follows is set
	out  Outcome
	err  error
}

// Reload puts the file in force as it is now. Callers that come while a change
// is being made share one reload, which reads the file after the last of them
// came. It waits for its turn and then for the reload, not for data.
func (c *Controller) Reload(ctx context.Context, who string) (Outcome, error) {
	if c.o.Load == nil {
		err := conflict("there is no file to reload: the pipeline was read from standard input")
		c.record(proposal{Change: Change{Who: who}}, Outcome{}, err)
		return Outcome{}, err
	}
	r := c.ask(who)
	select {
	case c.turn <- struct{}{}:
		c.reload(ctx, r)
		c.release()
	case <-r.done:
	case <-ctx.Done():
		return Outcome{}, ctx.Err()
	}
	return r.out, r.err
}

// ask joins the request that waits for its turn, or makes one.
func (c *Controller) ask(who string) *request {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == nil {
		c.next = &request{done: make(chan struct{})}
	}
	if !slices.Contains(c.next.who, who) {
		c.next.who = append(c.next.who, who)
	}
	return c.next
}

// reload fulfils a request, unless that has been done. The caller has its turn.
func (c *Controller) reload(ctx context.Context, r *request) {
	c.mu.Lock()
	if c.next != r {
		c.mu.Unlock()
		<-r.done // whoever did it has given the turn back
		return
	}
	c.next = nil
	who := strings.Join(r.who, ", ")
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reloadLimit)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	load := func(*config.Pipeline) (*config.Pipeline, config.Diagnostics, error) {
		next, found := c.o.Load()
		return next, found, nil
	}
	r.out, r.err = c.change(ctx, proposal{Change: Change{Who: who}, subject: c.file + " is", next: load})
	close(r.done)
}

// Apply puts a whole configuration in force, given as YAML.
func (c *Controller) Apply(ctx context.Context, yaml []byte, o Change) (Outcome, error) {
	if c.o.Parse == nil {
		return Outcome{}, &engine.RefusedError{Reason: "this pipeline takes no configuration from outside"}
	}
	return c.propose(ctx, proposal{Change: o, subject: "the configuration is", next: func(*config.Pipeline) (*config.Pipeline, config.Diagnostics, error) {
		next, found := c.o.Parse(yaml)
		return next, found, nil
	}})
}
