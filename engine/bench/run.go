package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
	_ "github.com/pipectl/pipectl/sinks"
	_ "github.com/pipectl/pipectl/sources"
	_ "github.com/pipectl/pipectl/stages"
)

// writer is a buffered output file of a hand-written loop.
type writer struct {
	file *os.File
	buf  *bufio.Writer
}

func (w *writer) line(b []byte) {
	w.buf.Write(b)
	w.buf.WriteByte('\n')
}

// each calls f with every line of a file.
func each(in string, files []string, f func(line []byte, out []*writer)) error {
	src, err := os.Open(in)
	if err != nil {
		return err
	}
	defer src.Close()
	var out []*writer
	for _, name := range files {
		file, err := os.Create(name)
		if err != nil {
			return err
		}
		out = append(out, &writer{file, bufio.NewWriterSize(file, 64<<10)})
	}
	scan := bufio.NewScanner(src)
	scan.Buffer(make([]byte, 64<<10), 1<<20)
	for scan.Scan() {
		f(scan.Bytes(), out)
	}
	for _, w := range out {
		if err := w.buf.Flush(); err != nil {
			return err
		}
		if err := w.file.Close(); err != nil {
			return err
		}
	}
	return scan.Err()
}

// runPipeline runs a pipeline to its end, as `pipectl run` does.
func runPipeline(yaml string) error {
	e, err := build(yaml)
	if err != nil {
		return err
	}
	receipt, err := e.Run(context.Background())
	if err == nil && receipt.Balance.Error != 0 {
		err = fmt.Errorf("the books do not balance: %+v", receipt.Balance)
	}
	return err
}

// probe is a sink that notes how long events took.
type probe struct{ took []time.Duration }

func (p *probe) Write(_ context.Context, in []*pipe.Event) error {
	now := time.Now()
	for _, e := range in {
		p.took = append(p.took, now.Sub(e.Time()))
	}
	return nil
}

const latencyYAML = `version: 1
name: latency
sources: {in: {type: generate, rate: 2000/s, count: 10000}}
stages:
  one: {type: filter, where: 'true'}
  two: {type: map, set: {kind: '"x"'}}
  three: {type: filter, where: 'kind == "x"'}
sinks: {out: {type: discard}}
edges: [in -> one -> two -> three -> out]
`

// latency measures the time from read to sink at a low rate.
func latency() error {
	cfg, diags := config.Parse([]byte(latencyYAML), config.Options{File: "latency.yaml"})
	if err := diags.Err(); err != nil {
		return err
	}
	p := &probe{}
	cfg.Sinks[0].Component = p
	e, err := engine.New(cfg, engine.Options{})
	if err != nil {
		return err
	}
	if _, err := e.Run(context.Background()); err != nil {
		return err
	}
	slices.Sort(p.took)
	at := func(q float64) time.Duration { return p.took[int(float64(len(p.took)-1)*q)] }
	fmt.Printf("\nlatency at 2,000 events/s through three stages: p50 %v, p99 %v, max %v (%d events)\n", at(.5), at(.99), at(1), len(p.took))
	return nil
}
