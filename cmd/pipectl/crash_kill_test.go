package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// long says that the long form of a test is wanted, which takes minutes.
func long() bool { return os.Getenv("PIPECTL_TORTURE") != "" }

// TestKilledAtRandom kills real processes with SIGKILL while they start, read,
// write, save their position and drain. After each kill everything that was
// acknowledged to a client, or that the checkpoint says is settled, must have
// arrived; after the last run everything. What comes again must have been in
// flight, or settled after the last save.
func TestKilledAtRandom(t *testing.T) {
	t.Parallel()
	kills, abreast := 56, 2 // pipelines of each kind at a time
	if long() {
		kills = 2000
	}
	began := time.Now()
	var done, runs, worlds, torn, longest atomic.Int64
	var busy sync.WaitGroup
	for kind := range 4 {
		for lane := range abreast {
			busy.Go(func() {
				mine := 0
				for seed := uint64(lane); mine < kills/4/abreast && !t.Failed(); seed += uint64(abreast) {
					w, err := killWorld(t, kind, seed, kills/4/abreast-mine)
					if err != nil {
						t.Errorf("%s, seed %d: %v", worldKinds[kind], seed, err)
						return
					}
					mine += w.kills
					worlds.Add(1)
					runs.Add(int64(w.runs))
					torn.Add(int64(w.torn))
					longest.Store(max(longest.Load(), int64(w.longest)))
				}
				done.Add(int64(mine))
			})
		}
	}
	busy.Wait()
	if t.Failed() {
		return
	}
	t.Logf("%d kills in %d runs of %d pipelines in %v: nothing lost; %d files were left with a part of a line; at most %d events came again after a kill",
		done.Load(), runs.Load(), worlds.Load(), time.Since(began).Round(time.Second), torn.Load(), longest.Load())
}

var worldKinds = [...]string{"file to file", "file to http", "http to file", "http to http"}

// killWorld kills one pipeline until it is through or was killed often enough,
// and then lets it finish.
func killWorld(t *testing.T, kind int, seed uint64, kills int) (*world, error) {
	const lines = 8_000
	rng := rand.New(rand.NewPCG(seed, uint64(kind)))
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		return nil, err
	}
	w := &world{rng: rng, dir: dir}
	source, clients, err := w.source(kind, lines)
	if err != nil {
		return nil, err
	}
	if clients != nil {
		defer clients.stop()
	}
	var sink string
	if kind%2 == 0 {
		w.output, sink = w.fileSink(lines)
	} else {
		w.loses = rng.IntN(2) == 0
		far := newFarSide(lines, w.loses, seed)
		defer far.Close()
		w.output = far
		sink = fmt.Sprintf("{type: http, url: '%s', retry: {initial: 5ms, max: 50ms}%s}", far.URL, pick(rng, "", ", batch: {events: 50, interval: 20ms}", ", compress: gzip"))
	}
	window := pick(rng, "", ", max_in_flight: {events: 300}")
	yaml := fmt.Sprintf(`version: 1
name: crash
shutdown: {timeout: 20s}
sources:
  in: {%s%s}
stages:
  pace: {type: throttle, rate: %d/s, burst: 200}
  same: {type: filter, where: 'n >= 0', workers: %d}
sinks:
  out: %s
edges: [in -> pace, {from: pace, to: same, buffer: %d}, same -> out]
`, source, window, crashRate, 1+rng.IntN(3), sink, 1<<rng.IntN(11))
	if err := os.WriteFile(filepath.Join(dir, "pipeline.yaml"), []byte(yaml), 0o600); err != nil {
		return nil, err
	}
	err = w.live(kills)
	parts, _ := filepath.Glob(filepath.Join(dir, "out", "*.torn"))
	w.torn = len(parts)
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, yaml)
	}
	return w, errors.Join(err, os.RemoveAll(dir))
}

// live kills the pipeline over and over. It stops when a run ends by itself: then
// there is nothing more to do.
func (w *world) live(kills int) error {
	for w.kills < kills && w.runs < 4*kills+10 && !w.through() {
		if err := w.crash(); err != nil {
			return err
		}
	}
	return w.finish("--set", "stages.pace.rate=1000000/s")
}

// through reports whether all input is settled.
func (w *world) through() bool {
	switch in := w.input.(type) {
	case *fileInput:
		for i, mark := range in.mark {
			if mark < in.ends[i][in.lines-1] {
				return false
			}
		}
		return true
	case *crashClients:
		in.mu.Lock()
		defer in.mu.Unlock()
		return in.open == 0
	}
	return false
}

func pick(rng *rand.Rand, choices ...string) string { return choices[rng.IntN(len(choices))] }

// source makes the input of a world and the options of its source.
func (w *world) source(kind, lines int) (options string, clients *crashClients, err error) {
	if kind >= 2 {
		c, err := newCrashClients(4, lines, w.rng.Uint64())
		if err != nil {
			return "", nil, err
		}
		w.input, w.moments = c, whileDraining+1
		return fmt.Sprintf("type: http_server, listen: '%s', codec: ndjson, max_concurrent: %d", c.address(), 1+w.rng.IntN(8)), c, nil
	}
	files, follow := 1+w.rng.IntN(3), w.rng.IntN(2) == 0
	in, err := newFileInput(w, files, lines/files, follow)
	w.input, w.moments = in, whileSaving+1
	return fmt.Sprintf("type: file, paths: ['in.*'], codec: ndjson, checkpoint: state, follow: %v, poll_interval: 50ms", follow), nil, err
}

// fileSink makes a file sink of one of the many kinds.
func (w *world) fileSink(lines int) (*fileOutput, string) {
	path := pick(w.rng, "out/all.ndjson", "out/all.ndjson.gz", "out/{pad}.ndjson")
	options := []string{"type: file", "codec: ndjson", "path: '" + path + "'"}
	if strings.HasSuffix(path, ".gz") {
		options = append(options, "compress: gzip")
	}
	for _, more := range []string{"fsync: batch", "rotate: {bytes: 300KiB}", "batch: {events: 500, interval: 10ms}"} {
		if w.rng.IntN(2) == 0 {
			options = append(options, more)
		}
	}
	return &fileOutput{dir: filepath.Join(w.dir, "out"), lines: lines}, "{" + strings.Join(options, ", ") + "}"
}
