package main

import (
	"strings"
	"testing"
)

// base is a small good file, into which the tests put mistakes.
const base = `
version: 1
name: base
limits: {memory: 512MiB}
shutdown: {timeout: 25s}
admin: {listen: 127.0.0.1:9464}
defaults:
  edge: {buffer: 1024}
sources:
  in: {type: generate, rate: 10/s, event: {a: seq}}
stages:
  split: {type: route, cases: {a: x}}
sinks:
  out: {type: file, path: x, batch: {events: 1}, retry: {max_attempts: 1}}
edges:
  - in -> split
  - {from: split.a, to: out, buffer: {events: 5}, policy: {type: block, timeout: 1s}}
`

// mistaken returns a function that replaces a part of base by another, with
// which neither pipectl nor the schema may accept it.
func mistaken(t *testing.T) func(old, mistake string) {
	t.Helper()
	if byParse([]byte(base)) != nil || bySchema([]byte(base)) != nil {
		t.Fatal("the base has mistakes", byParse([]byte(base)), bySchema([]byte(base)))
	}
	return func(old, mistake string) {
		t.Helper()
		if strings.Count(base, old) != 1 {
			t.Fatalf("%q is there %d times", old, strings.Count(base, old))
		}
		data := []byte(strings.Replace(base, old, mistake, 1))
		if byParse(data) == nil {
			t.Errorf("%s: pipectl accepts it", mistake)
		}
		if bySchema(data) == nil {
			t.Errorf("%s: the schema accepts it", mistake)
		}
	}
}

func TestUnknownKeys(t *testing.T) {
	f := mistaken(t)
	f("name: base", "nmae: base")
	f("{memory: 512MiB}", "{memry: 512MiB}")
	f("{timeout: 25s}", "{timout: 25s}")
	f("{listen: 127.0.0.1:9464}", "{listne: 127.0.0.1:9464}")
	f("edge: {buffer: 1024}", "edges: {buffer: 1024}")
	f("edge: {buffer: 1024}", "edge: {bufer: 1024}")
	f("rate: 10/s", "rte: 10/s")
	f("rate: 10/s", "rate: {rate: 1/s, curv: ramp}")
	f("rate: 10/s", "workers: 3")
	f("cases: {a: x}}", "cases: {a: x}, mod: all}")
	f("path: x", "path: x, pth: y")
	f("batch: {events: 1}", "batch: {event: 1}")
	f("batch: {events: 1}", "max_in_flight: {events: 1}")
	f("{max_attempts: 1}", "{attempts: 1}")
	f("{events: 5}", "{event: 5}")
	f("to: out,", "to: out, too: out,")
	f("timeout: 1s}", "timout: 1s}")
	f("path: x", "path: x, codec: {delimitr: x}")
}

func TestMissingKeys(t *testing.T) {
	f := mistaken(t)
	f("type: generate, ", "")
	f("type: file, ", "")
	f("path: x, ", "")
	f("path: x", "path: ''")
	f(", cases: {a: x}", "")
	f("cases: {a: x}", "cases: {}")
	f("from: split.a, ", "")
	f("to: out, ", "")
	f("type: block, ", "")
	f("timeout: 1s}", "then: fail}")
	f("edges:\n", "edges: []\nx:\n")
}

func TestWrongTypes(t *testing.T) {
	f := mistaken(t)
	f("version: 1", "version: one")
	f("version: 1", "version: 2")
	f("name: base", "name: [base]")
	f("name: base", "name: true")
	f("name: base", "name: a b")
	f("name: base", "name:")
	f("type: generate", "type: genrate")
	f("type: generate", "type: filter")
	f("event: {a: seq}", "event: [seq]")
	f("event: {a: seq}", "event: {a: [seq]}")
	f("event: {a: seq}", "event: {a: }")
	f("event: {a: seq}", "count: many")
	f("event: {a: seq}", "count: -1")
	f("event: {a: seq}", `count: "5"`)
	f("event: {a: seq}", "seed: -1")
	f("cases: {a: x}", "cases: {A: x}")
	f("cases: {a: x}", "cases: {failed: x}")
	f("type: route", "type: route, ordered: 5")
	f("type: route", `type: route, ordered: "true"`)
	f("type: route", "type: route, mode: some")
	f("type: route", "type: route, workers: 0")
	f("type: route", "type: route, workers: 1.5")
	f("type: route", "type: route, on_error: ignore")
	f("path: x", "path: {x: y}")
	f("path: x", "path: x, codec: xml")
	f("path: x", "path: x, codec: {type: xml}")
	f("path: x", "path: x, compress: auto")
	f("path: x", "path: x, fsync: often")
	f("path: x", "path: x, fsync: 0s")
	f("path: x", "path: x, rotate: 5")
	f("in: {type: generate, rate: 10/s, event: {a: seq}}", "in: generate")
	f("in: {type: generate, rate: 10/s, event: {a: seq}}", "in:")
	f("in: {type: generate, rate: 10/s, event: {a: seq}}", "in: {type: file, paths: 'a,b'}")
	f("in: {type: generate, rate: 10/s, event: {a: seq}}", "in: {type: http_server, methods: [GET]}")
	f("in: {type: generate, rate: 10/s, event: {a: seq}}", "in: {type: http_server, methods: GET}")
	f("{type: generate, rate", "{type: [generate], rate")
	f("\n  in: ", "\n  In: ")
}

func TestWrongUnits(t *testing.T) {
	f := mistaken(t)
	for _, bad := range []string{"25", "25 s", "25sec", "-5s", "fast", "1d12h", "0", "0s", "5S", "true", "[1s]"} {
		f("{timeout: 25s}", "{timeout: "+bad+"}")
	}
	for _, bad := range []string{"512 megabytes", "-1", "512mb", "big", "1/s", "{}"} {
		f("{memory: 512MiB}", "{memory: "+bad+"}")
	}
	for _, bad := range []string{"10", "10/d", "/s", "10 per second", "-1/s", "1s"} {
		f("rate: 10/s", "rate: "+bad)
	}
	f("{memory: 512MiB}", "{max_event_bytes: 0}")
	f("{memory: 512MiB}", "{max_event_bytes: 0KiB}")
	f("{memory: 512MiB}", "{max_event_bytes: 2000000000}")
	f("{max_attempts: 1}", "{jitter: 1.5}")
	f("{max_attempts: 1}", "{initial: 0ms}")
}

func TestWrongEdges(t *testing.T) {
	f := mistaken(t)
	for _, bad := range []string{"in", "in -> ", "-> split", "in => split", "in -> split.a -> out", "In -> split", "5", "[in, split]", "in - > split"} {
		f("in -> split", bad)
	}
	f("buffer: {events: 5}", "buffer: 0")
	f("buffer: {events: 5}", "buffer: 16MiB")
	f("buffer: {events: 5}", "buffer: [5]")
	f("buffer: {events: 5}", "buffer: {events: 0}")
	f("buffer: {events: 5}", "buffer: {bytes: lots}")
	f("from: split.a", "from: [split]")
	f("to: out,", "to: out, name: A b,")
	f("to: out,", "to: out.failed,")
	f("to: out,", "to: out, priority: 10,")
	f("to: out,", "to: out, on_drop: maybe,")
	policy := func(bad string) { t.Helper(); f("policy: {type: block, timeout: 1s}", "policy: "+bad) }
	policy("drop")
	policy("drop_oldest")
	policy("[block]")
	policy("")
	policy("{}")
	policy("{type: drop}")
	policy("{type: drop-oldest, timeout: 1s}")
	policy("{type: block, base_rate: 1}")
	policy("{type: block, timeout: 1s, then: wait}")
	policy("{type: sample, base_rate: 0}")
	policy("{type: sample, base_rate: 1.5}")
	policy("{type: sample, min_rate: 0}")
	policy("{type: sample, threshold: 1}")
	policy("{type: sample, key: [a]}")
}
