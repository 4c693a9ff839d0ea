package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/explain"
	"github.com/pipectl/pipectl/engine/metrics"
)

const scrapeYAML = `
version: 1
name: scraped
sources: {in: {type: generate, event: {n: seq, level: '"info"', status: '200', path: '"/index.html"'}}}
stages:
  ok: {type: filter, where: 'status == 200'}
  shape: {type: map, set: {seen: 'n + 1'}}
sinks: {out: {type: discard}}
edges: [in -> ok -> shape -> out]
`

// scrape measures what metrics cost: one pipeline that runs as fast as it can,
// in turns without anybody looking and with a scrape a second over HTTP, beside
// the recorder that the admin endpoint keeps. It prints the median of the ratios
// of neighbouring turns.
func scrape(turns int) error {
	const turn = 3 * time.Second
	e, err := build(scrapeYAML)
	if err != nil {
		return err
	}
	server := httptest.NewServer(metrics.Handler(e.Status, metrics.Options{ResetPeaks: e.ResetPeaks}))
	defer server.Close()
	done := make(chan error, 1)
	go func() {
		_, err := e.Run(context.Background())
		done <- err
	}()
	time.Sleep(time.Second)
	var ratios []float64
	for range turns {
		alone := pace(e, turn, nil)
		watched := pace(e, turn, func(ctx context.Context) {
			recorder := explain.NewRecorder(e.Status, explain.Options{})
			go recorder.Run(ctx)
			for tick := time.Tick(time.Second); ctx.Err() == nil; <-tick {
				if resp, err := http.Get(server.URL); err == nil {
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}
		})
		ratios = append(ratios, watched/alone)
	}
	e.Stop()
	slices.Sort(ratios)
	fmt.Printf("\nmetrics: with a scrape a second %.1f %% of the throughput without (median of %d pairs of turns of %v, %.1f to %.1f %%)\n",
		100*ratios[len(ratios)/2], turns, turn, 100*ratios[0], 100*ratios[len(ratios)-1])
	return <-done
}

// pace returns the events per second over d, with f beside it.
func pace(e *engine.Engine, d time.Duration, f func(context.Context)) float64 {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	if f != nil {
		go f(ctx)
	}
	before, start := e.Status().Sources["in"].Read, time.Now()
	<-ctx.Done()
	return float64(e.Status().Sources["in"].Read-before) / time.Since(start).Seconds()
}
