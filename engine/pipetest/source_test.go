package pipetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// listed is a correct source of a few numbers, unless fault says otherwise.
type listed struct {
	fault   string
	endless bool
	kept    *int64 // what was committed, for the next instance
	at      int64
	taken   int64
	closed  bool
	quit    chan struct{}
}

const listedEvents = 600

func (s *listed) Traits() pipe.Traits { return pipe.Traits{Replays: true, Finite: !s.endless} }

func (s *listed) Open(context.Context, pipe.Env) error {
	s.quit = make(chan struct{})
	s.at = *s.kept
	if s.fault == "skips after a restart" && s.at > 0 {
		s.at++
	}
	return nil
}

func (s *listed) Read(ctx context.Context, b *pipe.Batch) error {
	if s.closed && s.fault != "reads after close" {
		return os.ErrClosed
	}
	if s.fault == "ignores its context" && s.at == listedEvents {
		<-s.quit
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.at == listedEvents {
		if s.endless {
			<-ctx.Done()
			return ctx.Err()
		}
		if s.fault == "ends once only" && ctx.Err() == nil {
			s.fault = "ended"
			return io.EOF
		}
		if s.fault == "ended" {
			return errors.New("there is nothing")
		}
		return io.EOF
	}
	for range 200 {
		if s.at == listedEvents {
			break
		}
		s.at++
		s.taken++
		s.add(b)
	}
	return nil
}

func (s *listed) add(b *pipe.Batch) {
	pos := s.at
	if s.at == 300 {
		switch s.fault {
		case "loses one":
			return
		case "repeats one":
			b.Add(record.FromText(fmt.Append(nil, s.at)), pos)
			pos += 1000
		case "goes back":
			pos = 1
		}
	}
	if s.fault == "has no stable identity" {
		pos = s.at*1000 + time.Now().UnixNano()%1000
	}
	b.Add(record.FromText(fmt.Append(nil, s.at)), pos)
}

func (s *listed) Commit(_ context.Context, marks []pipe.Mark) error {
	for _, m := range marks {
		*s.kept = m.Position
	}
	return nil
}

func (s *listed) Progress() (int64, int64) {
	if s.fault == "does not arrive" {
		return 5, listedEvents
	}
	return s.at, listedEvents
}

func (s *listed) Close(context.Context) error {
	s.closed = true
	if s.fault == "leaves a goroutine" {
		go func() { <-s.quit }()
		return nil
	}
	close(s.quit)
	return nil
}

// runListed runs the suite, as the test of a source would.
func runListed(t *testing.T, fault string, endless bool) {
	kept := new(int64)
	var want []string
	for i := range listedEvents {
		want = append(want, fmt.Sprint(i+1))
	}
	Source(t, func() pipe.Source {
		return &listed{fault: fault, kept: kept, endless: endless}
	}, SourceOptions{
		Want:    want,
		Endless: endless,
		Reset:   func() { *kept = 0 },
		Taken: func(s pipe.Source) int64 {
			if fault == "reads ahead" { // something goes on in the background
				s.(*listed).taken += 10
			}
			return s.(*listed).taken
		},
		patience: 300 * time.Millisecond,
	})
}

func TestSourceSuitePasses(t *testing.T) {
	t.Run("finite", func(t *testing.T) { runListed(t, "", false) })
	t.Run("endless", func(t *testing.T) { runListed(t, "", true) })
}

// Each fault must be noticed, by the check that is there for it.
func TestSourceSuiteNotices(t *testing.T) {
	const mode = "PIPECTL_TEST_FAULT"
	if fault := os.Getenv(mode); fault != "" {
		runListed(t, fault, fault == "ignores its context")
		return
	}
	for fault, by := range map[string]string{
		"loses one":              "reads_everything",
		"repeats one":            "reads_everything",
		"goes back":              "reads_everything",
		"has no stable identity": "reads_everything",
		"ends once only":         "reads_everything",
		"does not arrive":        "reads_everything",
		"leaves a goroutine":     "is_open_and_closed_without_reading",
		"ignores its context":    "stops_when_told",
		"reads after close":      "read_after_close_fails",
		"reads ahead":            "leaves_nothing_unread_when_not_asked",
		"skips after a restart":  "replays_from_the_last_commit",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestSourceSuiteNotices$", "-test.v", "-test.timeout=60s")
			cmd.Env = append(os.Environ(), mode+"="+fault)
			out, err := cmd.CombinedOutput()
			if want := "--- FAIL: TestSourceSuiteNotices/" + by; err == nil || !strings.Contains(string(out), want) {
				t.Errorf("got %v, want a failure of %s:\n%s", err, by, out)
			}
		})
	}
}
