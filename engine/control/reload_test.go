package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipectl/pipectl/engine/config"
)

// Requests that come while a change is made share one reload; it reads the file
// after the last of them came.
func TestReloadsCoalesce(t *testing.T) {
	try(t, func(t *testing.T, d *desk) {
		hold, loads := make(chan struct{}), 0
		d.fake.hold = hold
		d.o.Load = func() (*config.Pipeline, config.Diagnostics) {
			loads++
			return config.Parse([]byte(d.file), config.Options{})
		}
		type answer struct {
			out Outcome
			err error
		}
		answers := make(chan answer)
		ask := func(who string) {
			go func() {
				out, err := d.Reload(t.Context(), who)
				answers <- answer{out, err}
			}()
			synctest.Wait()
		}
		buffer := func(n string) {
			d.file = strings.Replace(base, "keep -> out", "{from: keep, to: out, buffer: "+n+"}", 1)
		}
		buffer("1")
		ask("SIGHUP")
		for range 4 {
			ask("SIGHUP")
			ask("watch")
		}
		buffer("2")
		ask("api")
		close(hold)
		got := map[string]int{}
		for range 10 {
			a := <-answers
			if a.err != nil {
				t.Error(a.err)
				continue
			}
			got[fmt.Sprintf("generation %d by %s", a.out.Generation, a.out.Who)]++
		}
		want := map[string]int{"generation 2 by SIGHUP": 1, "generation 3 by SIGHUP, watch, api": 9}
		if !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if loads != 2 || d.fake.Config().Edge("keep->out").Buffer.Events != 2 {
			t.Errorf("%d loads, buffer %d", loads, d.fake.Config().Edge("keep->out").Buffer.Events)
		}
	})
}

// A caller that has gone takes nobody's reload with it, before the reload
// begins and during it.
func TestReloadOutlivesItsCaller(t *testing.T) {
	f := func(during bool, gone error) {
		t.Helper()
		try(t, func(t *testing.T, d *desk) {
			first, second := make(chan struct{}), make(chan struct{})
			d.fake.hold = first
			go d.PatchEdge(t.Context(), "keep->out", []byte(toOldest), Change{})
			synctest.Wait()
			ctx, cancel := context.WithCancel(t.Context())
			left, stayed := make(chan error, 1), make(chan error, 1)
			go func() {
				_, err := d.Reload(ctx, "gone")
				left <- err
			}()
			synctest.Wait()
			go func() {
				_, err := d.Reload(t.Context(), "patient")
				stayed <- err
			}()
			synctest.Wait()
			if !during {
				cancel()
			}
			d.fake.set(func() { d.fake.hold = second })
			close(first)
			synctest.Wait() // the reload has begun
			cancel()
			synctest.Wait()
			close(second)
			if err := <-left; !errors.Is(err, gone) {
				t.Errorf("during=%v: the one that left got %v, want %v", during, err, gone)
			}
			if err := <-stayed; err != nil {
				t.Errorf("during=%v: the one that stayed got %v", during, err)
			}
			d.after(0, 3, "block")
		})
	}
	f(false, context.Canceled)
	f(true, nil)
}

// A change whose caller has gone before its turn is not made.
func TestChangeEndsWithItsCaller(t *testing.T) {
	try(t, func(t *testing.T, d *desk) {
		hold := make(chan struct{})
		d.fake.hold = hold
		go d.Reload(t.Context(), "first")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, patched := d.PatchEdge(ctx, "keep->out", []byte(toOldest), Change{})
		_, reverted := d.Revert(ctx, "ada")
		if !errors.Is(patched, context.DeadlineExceeded) || !errors.Is(reverted, context.DeadlineExceeded) {
			t.Errorf("got %v and %v", patched, reverted)
		}
		close(hold)
		d.after(time.Second, 1, "block")
	})
}

// Close does not wait for an engine that does not come back.
func TestCloseDuringAReload(t *testing.T) {
	try(t, func(t *testing.T, d *desk) {
		d.fake.hold = make(chan struct{})
		errs := make(chan error)
		go func() {
			_, err := d.Reload(t.Context(), "SIGHUP")
			errs <- err
		}()
		synctest.Wait()
		start := time.Now()
		d.Close()
		if err := <-errs; !errors.Is(err, context.Canceled) || time.Since(start) != 0 {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}

// An engine that does not come back does not hold the file's reload for ever.
func TestReloadIsBounded(t *testing.T) {
	try(t, func(t *testing.T, d *desk) {
		d.fake.hold = make(chan struct{})
		start := time.Now()
		_, err := d.Reload(t.Context(), "SIGHUP")
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != reloadLimit {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}
