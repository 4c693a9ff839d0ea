package matrix

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/pipectl/pipectl/engine/pipe"
)

func init() { pipe.RegisterSink("mean", func() pipe.Sink { return &mean{} }) }

// cells are those that run, by name: a sink finds its own there.
var cells sync.Map

// mean is a sink that panics, or takes half of what it is given.
type mean struct {
	Cell  string `yaml:"cell"`
	Mood  string `yaml:"mood"`
	Late  bool   `yaml:"late"` // panics after it took the events
	Grave bool   `yaml:"grave"`
	Run   int    `yaml:"run"`

	cell   *cell
	writes atomic.Int64
}

func (m *mean) Open(context.Context, pipe.Env) error {
	c, ok := cells.Load(m.Cell)
	if !ok {
		return errors.New("no such cell")
	}
	m.cell = c.(*cell)
	return nil
}

// MaxConcurrent lets several writes be under way.
func (m *mean) MaxConcurrent() int { return 8 }

func (m *mean) Write(_ context.Context, in []*pipe.Event) error {
	k := m.writes.Add(1)
	rage := m.Mood == panics && k%3 == 0 && k <= 12 // four times: more than five in a minute end the pipeline
	if rage && !m.Late {
		panic("scripted panic")
	}
	var part pipe.PartialError
	for i, e := range in {
		n := number(e.Body.AppendText(nil))
		switch {
		case m.Mood == half && n%50 == 7:
			part.Items = append(part.Items, pipe.ItemError{Index: i, Err: pipe.Classed(pipe.Poison, errors.New("scripted refusal"))})
		case m.Mood == half && i%2 == 1:
			part.Items = append(part.Items, pipe.ItemError{Index: i, Err: pipe.Classed(pipe.Retryable, errors.New("scripted delay"))})
		default:
			m.cell.journal.take(m.Run, n, m.Grave)
		}
	}
	switch {
	case rage:
		panic("scripted panic")
	case len(part.Items) > 0:
		return &part
	}
	return nil
}
