package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"
)

const topLong = `Watch a running pipeline: its graph with the fill, the rate, the drops and the
blocked time of every edge, a second apart, and what limits it. Pick an edge to
see all of it, and to change its buffer and policy. ? shows the keys.

Without a terminal one picture a second is printed.`

type topOptions struct {
	connection
	count int
}

func newTopCommand(std streams) *cobra.Command {
	var o topOptions
	cmd := &cobra.Command{
		Use:     "top",
		Short:   "Watch a running pipeline, and change its edges",
		Long:    topLong,
		Example: "  pipectl top\n  pipectl top --addr pipes-1:9464\n  pipectl top --count 2 | tail -n 40",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runTop(cmd.Context(), std, o)
		},
	}
	cmd.Flags().IntVar(&o.count, "count", 0, "print `N` pictures and end, also on a terminal")
	o.flags(cmd)
	return cmd
}

func runTop(ctx context.Context, std streams, o topOptions) error {
	if o.count < 0 {
		return usagef("--count: must be above 0, got %d", o.count)
	}
	k, err := o.open()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	m := &top{k: k, ctx: ctx, clock: time.Now}
	past, err := k.history(ctx, keepSamples*time.Second)
	if err != nil { // also: nothing listens, or a token is missing
		return failure(std, "text", "", err)
	}
	m.data.recall(past)
	if f, ok := std.Out.(*os.File); ok && o.count == 0 && isLiveTerminal(f) {
		m.color = os.Getenv("NO_COLOR") == ""
		return m.onScreen(std, stop)
	}
	return m.onPaper(std, o.count)
}

// onScreen shows the pipeline until the user ends it. A connection that is lost is
// made again.
func (m *top) onScreen(std streams, stop func()) error {
	p := tea.NewProgram(m, tea.WithContext(m.ctx), tea.WithOutput(std.Out), tea.WithoutSignalHandler())
	var watcher sync.WaitGroup
	watcher.Go(func() { m.watch(p.Send) })
	_, err := p.Run()
	stop()
	watcher.Wait()
	if errors.Is(err, tea.ErrProgramKilled) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// againAfter is how long top waits before it tries to connect again.
const againAfter = time.Second

// watch sends what the pipeline tells, until ctx ends.
func (m *top) watch(send func(tea.Msg)) {
	for {
		err := m.k.stream(m.ctx, get("api", "v1", "events"), func(p push) error {
			s, err := readStatus(p)
			if err == nil && s != nil {
				send(statusMsg(*s))
			}
			return err
		})
		if m.ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("it was closed")
		}
		send(lostMsg{err})
		select {
		case <-m.ctx.Done():
			return
		case <-time.After(againAfter):
		}
	}
}

// readStatus decodes a status of a stream; nil for what is none.
func readStatus(p push) (*liveStatus, error) {
	if p.event != "status" {
		return nil, p.ended()
	}
	var s liveStatus
	if err := json.Unmarshal(p.data, &s); err != nil {
		return nil, fmt.Errorf("what it sends is not what pipectl sends: %w", err)
	}
	s.complete()
	return &s, nil
}

// onPaper prints a picture for every state that comes, without colours.
func (m *top) onPaper(std streams, count int) error {
	printed := 0
	err := m.k.stream(m.ctx, get("api", "v1", "events"), func(p push) error {
		s, err := readStatus(p)
		if err != nil || s == nil {
			return err
		}
		m.data.add(*s)
		f := m.frame()
		f.width, f.height = 120, 1000
		rows := append(f.head(), f.row())
		rows = append(rows, f.table(m.lines())...)
		if _, err := fmt.Fprint(std.Out, strings.TrimRight(join(rows), "\n")+"\n\n"); err != nil {
			return err
		}
		if printed++; printed == count {
			return errEnough
		}
		return nil
	})
	return endOfStream(m.ctx, std, m.k, err)
}
