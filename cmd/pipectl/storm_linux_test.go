package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// moody is the far side of the storm's sinks: it takes events, refuses them or
// does not answer at all, and changes its mind. What it takes it remembers.
type moody struct {
	*httptest.Server
	mood atomic.Int32 // 0 takes, 1 refuses with 503, 2 does not answer

	mu   sync.Mutex // guards what follows
	got  []int      // numbers of the events, in the order in which they came
	hung int        // requests that were not answered
}

const (
	takes = iota
	refuses
	hangs
)

func newMoody(t *testing.T) *moody {
	m := &moody{}
	m.Server = httptest.NewServer(m)
	t.Cleanup(func() {
		m.CloseClientConnections()
		m.Close()
	})
	return m
}

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	switch m.mood.Load() {
	case refuses:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case hangs:
		m.mu.Lock()
		m.hung++
		m.mu.Unlock()
		<-r.Context().Done() // nothing of it is taken
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for line := range bytes.Lines(body) {
		var e struct{ N int }
		if json.Unmarshal(line, &e) == nil {
			m.got = append(m.got, e.N)
		}
	}
}

// stormYAML is the storm's pipeline in one of its many forms. The way from in to
// main never loses anything; the way to side may.
func stormYAML(main, side string, rng *rand.Rand) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\nname: storm\nshutdown: {timeout: 20s}\nsources: {in: {type: generate, rate: 4000/s, event: {n: seq}}}\n")
	fmt.Fprintf(&b, "stages:\n  shape: {type: map, set: {x: '%d'}}\n", rng.IntN(5))
	edges := []string{"in -> shape"}
	if rng.IntN(3) == 0 {
		edges[0] = "in -> keep -> shape"
		b.WriteString("  keep: {type: filter, where: 'n >= 0'}\n")
	}
	fmt.Fprintf(&b, "sinks:\n  main: {type: http, url: '%s', codec: ndjson, timeout: %dms, retry: {initial: 5ms, max: %dms}}\n",
		main, 2000+rng.IntN(3)*1000, 20+rng.IntN(3)*10)
	edges = append(edges, fmt.Sprintf("{from: shape, to: main, buffer: %d}", 1<<rng.IntN(12)))
	if rng.IntN(2) == 0 {
		fmt.Fprintf(&b, "  side: {type: http, url: '%s/%d', codec: ndjson, timeout: 2s, retry: {initial: 5ms, max: 20ms}}\n", side, rng.IntN(3))
		policy := []string{"drop-oldest", "drop-newest", "drop-random", "{type: block, timeout: 10ms, then: drop-newest}", "{type: sample, min_rate: 0.1}"}[rng.IntN(5)]
		edges = append(edges, fmt.Sprintf("{from: shape, to: side, buffer: %d, policy: %s}", 1<<rng.IntN(8), policy))
	}
	b.WriteString("edges:\n")
	for _, e := range edges {
		fmt.Fprintf(&b, "  - %s\n", e)
	}
	return b.String()
}

// broken spoils a configuration in one of the ways in which people do.
func broken(yaml string, rng *rand.Rand) string {
	old, bad := "in -> ", "nowhere -> "
	switch rng.IntN(5) {
	case 0:
		old, bad = "retry:", "retries:"
	case 1:
		old, bad = "to: main", "to: mian"
	case 2:
		old, bad = "type: map", "type: mop"
	case 3:
		old, bad = "rate: 4000/s", "rate: 5000/s" // valid, but a source cannot change
	}
	if !strings.Contains(yaml, old) {
		return "version: ["
	}
	return strings.Replace(yaml, old, bad, 1)
}

// storm is a process under reloads.
type storm struct {
	*process
	t       *testing.T
	rng     *rand.Rand
	api     string
	main    *moody
	side    *moody
	paused  []int // µs of each commit
	applied int
	refused int
}

// TestReloadStormOfAProcess reloads a real process at random, by signal, PATCH
// and apply, 30 % of it invalid, while its sinks hang, refuse and recover. In
// the end everything has arrived, once and in order.
func TestReloadStormOfAProcess(t *testing.T) {
	reloads := 300
	if os.Getenv("PIPECTL_TORTURE") != "" {
		reloads = 2000
	}
	t.Setenv("GOGC", "20") // so that the heap is measured often, and is what lives
	s := &storm{t: t, rng: rand.New(rand.NewPCG(7, 7)), main: newMoody(t), side: newMoody(t)}
	s.process = startRun(t, stormYAML(s.main.URL, s.side.URL, s.rng), "--admin", "127.0.0.1:0", "--log-format", "json", "--receipt", filepath.Join(t.TempDir(), "receipt.json"))
	s.await("http://127.0.0.1:")
	s.api = regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(s.seen.String())
	logs := s.follow()
	for {
		resp, err := http.Get(s.api + "/readyz")
		mustDo(t, err)
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			break
		}
		time.Sleep(time.Millisecond)
	}
	var before, after vitals
	for i := range reloads {
		switch {
		case i%25 == 0:
			s.main.mood.Store(takes)
			s.side.mood.Store(takes)
		case i%25 == 10:
			s.main.mood.Store(int32(s.rng.IntN(3)))
			s.side.mood.Store(int32(s.rng.IntN(3)))
		case i%25 == 18:
			s.main.mood.Store(takes)
		}
		s.change()
		if i == reloads/5 {
			before = s.vitals()
		}
		time.Sleep(time.Duration(s.rng.IntN(10)) * time.Millisecond)
	}
	s.main.mood.Store(takes)
	s.side.mood.Store(takes)
	time.Sleep(6 * time.Second) // what was taken out has ended
	after = s.vitals()
	s.signal(syscall.SIGTERM)
	s.finish(logs, reloads, before, after)
}

// follow reads the log to its end, so that the process never waits for us.
func (s *storm) follow() (lines <-chan []string) {
	c := make(chan []string, 1)
	go func() {
		rest, _ := io.ReadAll(s.stderr)
		c <- strings.Split(s.seen.String()+string(rest), "\n")
	}()
	return c
}

// change asks for another configuration.
func (s *storm) change() {
	yaml := stormYAML(s.main.URL, s.side.URL, s.rng)
	bad := s.rng.IntN(10) < 3
	if bad {
		yaml = broken(yaml, s.rng)
	}
	switch s.rng.IntN(3) {
	case 0:
		put(s.t, s.file()+".next", yaml)
		mustDo(s.t, os.Rename(s.file()+".next", s.file()))
		s.signal(syscall.SIGHUP)
	case 1:
		s.ask("POST", "/api/v1/apply", "application/yaml", yaml, bad)
	default:
		body := fmt.Sprintf(`{"buffer": %d, "policy": "block"}`, 1<<s.rng.IntN(12))
		if bad {
			body = `{"buffer": 0}`
		}
		s.ask("PATCH", "/api/v1/edges/shape-%3Emain", "application/json", body, bad)
	}
}

func (s *storm) ask(method, path, kind, body string, bad bool) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.api+path, strings.NewReader(body))
	mustDo(s.t, err)
	req.Header.Set("Content-Type", kind)
	req.Header.Set("X-Pipectl", "1")
	resp, err := http.DefaultClient.Do(req)
	mustDo(s.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	mustDo(s.t, err)
	if (resp.StatusCode == 200) == bad {
		s.t.Errorf("%s %s: status %d, invalid: %v\n%s\n%s", method, path, resp.StatusCode, bad, body, text)
	}
}

// vitals are what must not grow with the number of reloads. The heap is at most a fifth
// larger than what lived when it was last collected. The race detector keeps memory for
// every address that was ever used, which is no measure of a leak.
type vitals struct{ goroutines, descriptors, rss, heap int }

func (s *storm) vitals() (v vitals) {
	s.t.Helper()
	resp, err := http.Get(s.api + "/metrics")
	mustDo(s.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	mustDo(s.t, err)
	f := func(name string) int {
		m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(text)
		if m == nil {
			s.t.Fatalf("no metric %s", name)
		}
		x, err := strconv.ParseFloat(string(m[1]), 64)
		mustDo(s.t, err)
		return int(x)
	}
	if n := f(`pipectl_conservation_error_events\{pipeline="storm"\}`); n != 0 {
		s.t.Errorf("conservation error of %d events", n)
	}
	return vitals{f("go_goroutines"), f("process_open_fds"), f("process_resident_memory_bytes"), f("go_memstats_next_gc_bytes")}
}

// finish checks the process's end and all that it has left behind.
func (s *storm) finish(logs <-chan []string, reloads int, before, after vitals) {
	t := s.t
	t.Helper()
	lines := <-logs
	s.cmd.Wait()
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d\n%s", code, strings.Join(lines[max(0, len(lines)-30):], "\n"))
	}
	for _, line := range lines {
		var x struct {
			Msg, Result string
			PausedUS    int `json:"paused_us"`
		}
		if json.Unmarshal([]byte(line), &x) != nil || x.Msg != "reload" {
			continue
		}
		switch x.Result {
		case "applied":
			s.applied++
			s.paused = append(s.paused, x.PausedUS)
		case "refused":
			s.refused++
		}
	}
	slices.Sort(s.paused)
	if s.applied < reloads/4 || s.refused < reloads/10 {
		t.Fatalf("%d reloads were applied and %d refused, of %d", s.applied, s.refused, reloads)
	}
	p99 := s.paused[len(s.paused)*99/100]
	if p99 > 5000 && !raced {
		t.Errorf("p99 of the commits is %d µs, want below 5 ms", p99)
	}
	t.Logf("%d reloads: %d applied, %d refused; commit p50 %d µs, p99 %d µs, max %d µs; before %+v, after %+v; %d events, %d requests hung",
		reloads, s.applied, s.refused, s.paused[len(s.paused)/2], p99, s.paused[len(s.paused)-1], before, after, len(s.main.got), s.main.hung+s.side.hung)
	if after.goroutines > before.goroutines+20 || after.descriptors > before.descriptors+10 || after.heap > before.heap+16<<20 || after.rss > before.rss*3/2+16<<20 && !raced {
		t.Errorf("it grew: %+v, then %+v", before, after)
	}
	s.complete(lines)
}

// complete checks that main has got every event that was read, once and in order.
func (s *storm) complete(lines []string) {
	s.t.Helper()
	var receipt struct {
		Sources map[string]struct{ Read, Acked int }
		Balance struct{ Error, Returned, Failed int }
	}
	text, err := os.ReadFile(s.cmd.Args[slices.Index(s.cmd.Args, "--receipt")+1])
	mustDo(s.t, err)
	mustDo(s.t, json.Unmarshal(text, &receipt))
	if b := receipt.Balance; b.Error != 0 || b.Returned != 0 || b.Failed != 0 {
		s.t.Errorf("balance %+v\n%s", b, strings.Join(lines[max(0, len(lines)-20):], "\n"))
	}
	if read := receipt.Sources["in"].Read; len(s.main.got) != read {
		s.t.Errorf("%d events arrived, %d were read; the receipt: %s", len(s.main.got), read, text)
	}
	for i := 1; i < len(s.main.got); i++ {
		if s.main.got[i] != s.main.got[i-1]+1 {
			s.t.Errorf("event %d came after %d", s.main.got[i], s.main.got[i-1])
			return
		}
	}
}
