package main

import (
	"context"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/control"
)

// slowReloader is a reloader whose reloads take until they are released.
type slowReloader struct {
	began   chan string
	release chan struct{}
}

func (s *slowReloader) Reload(ctx context.Context, who string) (control.Outcome, error) {
	s.began <- who
	select {
	case <-s.release:
	case <-ctx.Done():
	}
	return control.Outcome{}, ctx.Err()
}

// hangUp sends SIGHUP to this process.
func hangUp(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

func TestHangupsReload(t *testing.T) {
	t.Cleanup(func() { signal.Reset(syscall.SIGHUP) })
	ignoreHangups()
	hangUp(t) // before there is a pipeline
	r := &slowReloader{began: make(chan string, 10), release: make(chan struct{})}
	stop := watchHangups(r)
	expect := func() {
		t.Helper()
		select {
		case who := <-r.began:
			if who != "SIGHUP" {
				t.Errorf("reloaded by %s", who)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no reload")
		}
	}
	hangUp(t)
	expect()
	for range 5 { // during a reload: one more
		hangUp(t)
	}
	r.release <- struct{}{}
	expect()
	stop() // ends the second one, which was never released
	hangUp(t)
	select {
	case <-r.began:
		t.Error("a signal reloaded after the end")
	default:
	}
}
