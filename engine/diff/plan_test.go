package diff_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/diff"
)

// base is what the tests of this file change.
const base = `version: 1
name: p
limits: {memory: 1GiB}
sources:
  in: {type: http_server, listen: 127.0.0.1:1, codec: ndjson, token: first-token, max_in_flight: {events: 100}}
stages:
  keep: {type: filter, where: status >= 500}
  parse: {type: parse, format: regex, pattern: '(?P<a>\d+)', types: {a: int}, workers: 2}
  split: {type: route, cases: {big: 'bytes > 10', small: 'bytes <= 10'}}
sinks:
  out: {type: file, path: out.ndjson, codec: {type: csv, columns: [a, b]}}
  web: {type: http, url: "http://127.0.0.1:1/", headers: {Accept: a, X-Key: first-key}, basic_auth: {user: u, password: first-word}}
edges:
  - {from: in, to: keep, name: entry}
  - keep -> parse -> split
  - split.big -> out
  - {from: split.small, to: web, policy: {type: sample, key: user}}
`

// edit makes a pipeline of base with old replaced by next, in pairs.
func edit(t testing.TB, pairs ...string) *config.Pipeline {
	t.Helper()
	text := base
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%q is not in the base", pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return parse(t, text)
}

// brief renders changes a line each: "swap stage keep changed: where=a>b".
func brief(changes []diff.Change) string {
	var b strings.Builder
	for _, c := range changes {
		fmt.Fprintf(&b, "%s %s %s %s:", c.Class, c.Part, c.Name, c.Action)
		for _, f := range c.Fields {
			fmt.Fprintf(&b, " %s=%s>%s", f.Path, f.Before, f.After)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestPlan(t *testing.T) {
	old := edit(t)
	f := func(want string, pairs ...string) {
		t.Helper()
		changes := diff.Plan(old, edit(t, pairs...))
		if got := strings.TrimSuffix(brief(changes), "\n"); got != want {
			t.Errorf("%q: got\n%s\nwant\n%s", pairs, got, want)
		}
		for _, c := range changes {
			if (c.Why == "") != (c.Class != diff.Restart) {
				t.Errorf("%q: class %s with why %q", pairs, c.Class, c.Why)
			}
		}
	}
	f("")
	f("", "version: 1\n", "")
	f("", "status >= 500", "'  status >= 500 '")
	f("", "memory: 1GiB", "memory: 1024MiB")
	f("", "where: status >= 500", `"where": "status \u003e= 500"`)
	f("", "workers: 2", "workers: 2, timeout: 0s")

	// the pipeline
	f("live pipeline  changed: description=>x", "name: p\n", "name: p\ndescription: x\n")
	f("live pipeline  changed: limits.memory=1GiB>2GiB", "1GiB", "2GiB")
	f("restart pipeline  changed: limits.max_event_bytes=8MiB>1MiB", "1GiB", "1GiB, max_event_bytes: 1MiB")
	f("live pipeline  changed: shutdown.timeout=25s>1s", "name: p\n", "name: p\nshutdown: {timeout: 1s}\n")
	f("restart pipeline  changed: name=p>q", "name: p\n", "name: q\n")
	f("restart pipeline  changed: admin.listen=>127.0.0.1:1\nrestart pipeline  changed: admin.token=>***", "name: p\n", "name: p\nadmin: {listen: '127.0.0.1:1', token: abc}\n")
	f("restart pipeline  changed: tracing.endpoint=>http://a\nrestart pipeline  changed: tracing.headers.k=>***", "name: p\n", "name: p\ntracing: {endpoint: 'http://a', headers: {k: vvvv}}\n")

	// sources
	f("restart source in changed: codec.type=ndjson>lines", "codec: ndjson", "codec: lines")
	f("restart source in changed: token=***>***", "first-token", "second-token")
	f("restart source in changed: token=***>", ", token: first-token", "")
	f("restart source in changed: tls=>{cert: a, key: b}", "codec: ndjson", "codec: ndjson, tls: {cert: a, key: b}")
	f("live source in changed: max_in_flight.events=100>50", "events: 100", "events: 50")
	f("live source in changed: max_in_flight.bytes=0B>1MiB", "events: 100", "events: 100, bytes: 1MiB")
	f("live source in changed: on_error=stop>drop", "type: http_server", "type: http_server, on_error: drop")
	f("restart source in changed: path=/>/x on_error=stop>drop", "type: http_server", "type: http_server, on_error: drop, path: /x")
	f("restart source in changed: type=http_server>generate", "type: http_server, listen: 127.0.0.1:1, codec: ndjson, token: first-token", "type: generate")

	// stages
	f("swap stage keep changed: where=status >= 500>status >= 400", "500", "400")
	f("live stage keep changed: timeout=0s>1s", "type: filter", "type: filter, timeout: 1s")
	f("restart stage keep changed: workers=1>2", "type: filter", "type: filter, workers: 2")
	f("restart stage keep changed: where=status >= 500>x ordered=true>false", "where: status >= 500", "ordered: false, where: x")
	f("swap stage keep changed: type=filter>map timeout=0s>2s", "type: filter, where: status >= 500", "type: map, delete: [a], timeout: 2s")
	f(`swap stage parse changed: pattern=(?P<a>\d+)>(?P<a>\w+)`, `\d`, `\w`)
	f("swap stage parse changed: types.a=int>float types.b=>bool", "{a: int}", "{a: float, b: bool}")
	f("swap stage split changed: cases=order big, small>order small, big", "big: 'bytes > 10', small: 'bytes <= 10'", "small: 'bytes <= 10', big: 'bytes > 10'")
	f("swap stage split changed: cases.big=bytes > 10>bytes > 11", "bytes > 10", "bytes > 11")
	f("swap stage split changed: cases.small=bytes <= 10>\nswap edge split.else->out added: from=>split.else to=>out settings=>block, 1024 events, 16MiB\n"+
		"swap edge keep->web added: from=>keep to=>web settings=>sample 1 to 0.01 from 0.8 by user, 1024 events, 16MiB\n"+
		"swap edge split.small->web removed: from=split.small> to=web> settings=sample 1 to 0.01 from 0.8 by user, 1024 events, 16MiB>",
		", small: 'bytes <= 10'", "", "- split.big -> out", "- split.big -> out\n  - split.else -> out", "from: split.small", "from: keep")

	// sinks
	f("swap sink out changed: codec.columns=[a, b]>[a]", "[a, b]", "[a]")
	f("swap sink out changed: codec.type=csv>ndjson codec.columns=[a, b]>[]", "{type: csv, columns: [a, b]}", "ndjson")
	f("swap sink out changed: fsync=never>batch", "path: out.ndjson", "path: out.ndjson, fsync: batch")
	f("live sink out changed: batch.events=1024>9 batch.interval=0s>1s", "path: out.ndjson", "path: out.ndjson, batch: {events: 9}")
	f("live sink out changed: timeout=0s>1s retry.jitter=1>0", "path: out.ndjson", "path: out.ndjson, timeout: 1s, retry: {jitter: 0}")
	f("swap sink web changed: headers.X-Key=***>*** headers.Accept=***>", "{Accept: a, X-Key: first-key}", "{X-Key: second}")
	f("swap sink web changed: basic_auth={user: u, password: ***}>", ", basic_auth: {user: u, password: first-word}", "")
	f("swap sink web changed: basic_auth.user=u>v", "user: u,", "user: v,")
	f("swap sink web changed: basic_auth.password=***>", ", password: first-word", "")

	// edges
	f("live edge keep->parse changed: buffer.events=1024>7\nlive edge parse->split changed: buffer.events=1024>7",
		"- keep -> parse -> split", "- {from: keep, to: parse, buffer: 7}\n  - {from: parse, to: split, buffer: 7}")
	f("live edge split.small->web changed: policy.key=user>agent", "key: user", "key: agent")
	f("live edge entry changed: buffer.age=0s>1s policy.type=block>drop-oldest priority=0>3 on_shrink=keep>evict", "name: entry", "name: entry, buffer: {age: 1s}, policy: drop-oldest, priority: 3, on_shrink: evict")
	f("swap edge first added: from=>in to=>keep settings=>block, 1024 events, 16MiB\nswap edge entry removed: from=in> to=keep> settings=block, 1024 events, 16MiB>", "name: entry", "name: first")
	f("restart edge entry changed: to=keep>parse\nswap edge in->keep added: from=>in to=>keep settings=>block, 1024 events, 16MiB", "{from: in, to: keep, name: entry}", "{from: in, to: parse, name: entry}\n  - in -> keep")
	f("swap edge keep.failed->out added: from=>keep.failed to=>out settings=>block, 1024 events, 16MiB", "- split.big -> out", "- split.big -> out\n  - keep.failed -> out")

	// nodes that come and go
	f("swap sink more added: type=>discard\nswap edge keep->more added: from=>keep to=>more settings=>block, 1024 events, 16MiB", "sinks:", "sinks:\n  more: {type: discard}", "edges:", "edges:\n  - keep -> more")
	f("restart stage out changed: kind=sink>stage\nswap sink last added: type=>discard\nswap edge out->last added: from=>out to=>last settings=>block, 1024 events, 16MiB",
		"  out: {type: file, path: out.ndjson, codec: {type: csv, columns: [a, b]}}\n", "  last: {type: discard}\n",
		"stages:", "stages:\n  out: {type: filter, where: x}", "edges:", "edges:\n  - out -> last")
}

// TestPlanOrder checks that the order of the file means nothing, and that of the
// changes follows the new file, then the old.
func TestPlanOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	old, next := parse(t, large(20, 10)), parse(t, large(20, 10))
	shuffle := func(p *config.Pipeline) {
		for _, list := range [][]*config.Node{p.Sources, p.Stages, p.Sinks} {
			rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		}
		rng.Shuffle(len(p.Edges), func(i, j int) { p.Edges[i], p.Edges[j] = p.Edges[j], p.Edges[i] })
	}
	shuffle(old)
	shuffle(next)
	if got := diff.Plan(old, next); len(got) > 0 {
		t.Errorf("order alone makes changes: %s", brief(got))
	}
	next = parse(t, large(30, 11))
	shuffle(next)
	var want []string
	next.Sinks = slices.DeleteFunc(next.Sinks, func(n *config.Node) bool { return n.Name == "k3" || n.Name == "k11" })
	for _, n := range next.Nodes() {
		if old.Node(n.Name) == nil {
			want = append(want, n.Name)
		}
	}
	for _, n := range old.Nodes() {
		if next.Node(n.Name) == nil {
			want = append(want, n.Name)
		}
	}
	for _, e := range next.Edges {
		if o := old.Edge(e.ID); o == nil || !o.Equal(e.EdgeSettings) {
			want = append(want, e.ID)
		}
	}
	for range 3 {
		var got []string
		for _, c := range diff.Plan(old, next) {
			got = append(got, c.Name)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v\nwant %v", got, want)
		}
	}
}

func TestSubject(t *testing.T) {
	f := func(c diff.Change, want string) {
		t.Helper()
		if got := c.Subject(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(diff.Change{Part: "edge", Name: "a->b", Fields: []diff.Field{{Path: "x"}}}, "edge a->b")
	f(diff.Change{Part: "pipeline", Fields: []diff.Field{{Path: "limits.memory"}}}, "pipeline limits.memory")
}
