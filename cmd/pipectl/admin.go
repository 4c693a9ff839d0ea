package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/admin"
	"github.com/pipectl/pipectl/engine/admin/page"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/control"
	"github.com/pipectl/pipectl/engine/explain"
	"github.com/pipectl/pipectl/engine/metrics"
)

// adminOff is the address that turns off what the file asks for.
const adminOff = "off"

// checkAdminAddress checks the form of an address on the command line.
func checkAdminAddress(addr string) error {
	if addr == "" || addr == adminOff {
		return nil
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return usagef("--admin: %q is not an address; write host:port, such as %s", addr, defaultAdmin)
	}
	return nil
}

// withAdmin puts the address of the command line in place of the file's.
func withAdmin(p *config.Pipeline, addr string) {
	if p != nil && addr != "" {
		p.Admin.Listen = addr
		if addr == adminOff {
			p.Admin.Listen = ""
		}
	}
}

// newController makes the door for changes of a run: the file is read again as
// it was read at the start.
func newController(e *engine.Engine, o runOptions, log *slog.Logger) *control.Controller {
	options := config.Options{File: o.file, Set: o.set}
	c := control.Options{Log: log, Parse: func(yaml []byte) (*config.Pipeline, config.Diagnostics) {
		p, found := config.Parse(yaml, options)
		withAdmin(p, o.admin)
		return p, found
	}}
	if info, err := os.Stat(o.file); err == nil && info.Mode().IsRegular() { // a pipe can be read once only
		c.Load = func() (*config.Pipeline, config.Diagnostics) {
			p, found := config.Load(o.file, options)
			withAdmin(p, o.admin)
			return p, found
		}
	}
	return control.New(e, c)
}

// adminEnd is the admin endpoint of a run, and what keeps figures for it. Nil is
// none.
type adminEnd struct {
	server *admin.Server
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

// startAdmin opens the endpoint that p asks for, if it does.
func startAdmin(p *config.Pipeline, e *engine.Engine, c *control.Controller, log *slog.Logger) (*adminEnd, error) {
	if p.Admin.Listen == "" {
		return nil, nil
	}
	recorder := explain.NewRecorder(e.Status, explain.Options{})
	server, err := admin.Listen(p.Admin.Listen, admin.Options{Engine: e, Control: c, Recorder: recorder,
		Page: page.Handler(), Metrics: metrics.Handler(e.Status, metricsOf(e, c, recorder)), Log: log,
		Token: p.Admin.Token, TLS: p.Admin.TLS, Version: versionText()})
	if refused := (*admin.RefusedError)(nil); errors.As(err, &refused) {
		return nil, &exitError{engine.ExitUsage, err}
	}
	if err != nil {
		return nil, &exitError{engine.ExitFailed, err}
	}
	ctx, cancel := context.WithCancel(context.Background())
	a := &adminEnd{server: server, cancel: cancel}
	a.ended.Go(func() { recorder.Run(ctx) })
	a.ended.Go(func() {
		if err := server.Serve(ctx); err != nil {
			log.Error("the admin endpoint has ended, the pipeline goes on", "error", err)
		}
	})
	return a, nil
}

// metricsOf says where metrics come from that are not in a status.
func metricsOf(e *engine.Engine, c *control.Controller, recorder *explain.Recorder) metrics.Options {
	return metrics.Options{
		ResetPeaks: e.ResetPeaks,
		Last: func() (bool, time.Time) {
			last := c.Last()
			return last.Success, last.At
		},
		Why: func() (node, cause string) {
			why := recorder.Why(30 * time.Second)
			return why.Limiting, why.Cause
		},
	}
}

// close ends the endpoint: streams get the last figures first.
func (a *adminEnd) close() {
	if a != nil {
		a.cancel()
		a.ended.Wait()
	}
}

// announce says where the live page is.
func (d *display) announce(a *adminEnd) {
	switch {
	case a == nil:
	case d.live != nil:
		fmt.Fprintf(d.live, "live page: %s\n", a.server.URL())
	default:
		d.log.Info("live page", "url", a.server.URL())
	}
}
