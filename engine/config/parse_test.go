package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

func good(t *testing.T, name string) *Pipeline {
	t.Helper()
	p, ds, _ := loadCase(t, "testdata/good/"+name+".yaml")
	if p == nil || len(ds) > 0 {
		t.Fatalf("%s: %v", name, ds)
	}
	return p
}

// equal compares what a test calls what.
func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func edgeIDs(p *Pipeline) string {
	var ids []string
	for _, e := range p.Edges {
		ids = append(ids, e.ID)
	}
	return strings.Join(ids, " ")
}

func TestDesignExample(t *testing.T) {
	p := good(t, "design")
	equal(t, "name", p.Name, "access-logs")
	equal(t, "description", p.Description, "Slow and failing requests of the web tier.")
	equal(t, "limits", p.Limits, Limits{512 << 20, 8 << 20, pipe.Duration(DefaultStallAfter)})
	equal(t, "timeout", p.Shutdown.Timeout.D(), 25*time.Second)
	equal(t, "admin", p.Admin, Admin{Listen: "127.0.0.1:9464"})
	equal(t, "edges", edgeIDs(p), "access->parse parse->keep parse.failed->bad keep->shape shape->out")
	equal(t, "plain edge", p.Edges[0].EdgeSettings, DefaultEdge())
	equal(t, "numbered buffer", p.Edge("parse.failed->bad").Buffer, Buffer{Events: 256, Bytes: 16 << 20})
	equal(t, "buffer", p.Edge("keep->shape").Buffer, Buffer{8192, 16 << 20, pipe.Duration(30 * time.Second)})
	equal(t, "policy", p.Edge("keep->shape").Policy, Policy{Type: DropOldest})
	equal(t, "sample", p.Edge("shape->out").Policy, Policy{Type: Sample, BaseRate: 1, MinRate: 0.01, Threshold: 0.8})
	keep := p.Node("keep")
	equal(t, "place of keep", keep.Pos, Pos{Line: 15, Col: 3})
	equal(t, "place of where", keep.At("where"), Pos{Line: 15, Col: 32})
	equal(t, "expression", keep.Component.(*filter).Where.text, "status >= 500 || bytes > 1_000_000")
	shape := p.Node("shape").Component.(*mapper)
	equal(t, "order", []string{shape.Set[0].Key, shape.Set[1].Key}, []string{"service", "mb"})
	equal(t, "rename", shape.Rename, map[string]string{"agent": "user_agent"})
	equal(t, "source", p.Sources[0].Component.(*fileSource).Codec, codec{Type: "lines"})
	equal(t, "kinds", fmt.Sprint(len(p.Sources), len(p.Stages), len(p.Sinks), len(p.Nodes())), "1 3 2 6")
}

func TestDefaults(t *testing.T) {
	p := good(t, "minimal")
	equal(t, "version", p.Version, 1)
	equal(t, "name from the file", p.Name, "minimal")
	equal(t, "limits", p.Limits, Limits{0, DefaultMaxEventBytes, pipe.Duration(DefaultStallAfter)})
	equal(t, "timeout", p.Shutdown.Timeout.D(), DefaultShutdownTimeout)
	equal(t, "edge", p.Edges[0].EdgeSettings, EdgeSettings{
		Buffer: Buffer{Events: 1024, Bytes: 16 << 20}, Policy: Policy{Type: Block}, OnDrop: "ack", OnShrink: "keep",
	})
	out := p.Node("out")
	equal(t, "retry", out.Retry, Retry{Initial: pipe.Duration(250 * time.Millisecond), Max: pipe.Duration(30 * time.Second), Jitter: 1, Budget: Budget{Ratio: 0.1, Burst: 100}})
	equal(t, "batch", out.Batch, Batch{Events: 1024, Bytes: 4 << 20})
	equal(t, "on_error", out.OnError, OnErrorStop)
	for text, want := range map[string]Batch{
		"{events: 5}":               {5, 4 << 20, DefaultBatchInterval, nil},
		"{}":                        {1024, 4 << 20, DefaultBatchInterval, nil},
		"{events: 5, interval: 0s}": {5, 4 << 20, 0, nil},
	} {
		p, ds := Parse([]byte("sources: {in: {type: ticker}}\nsinks: {out: {type: discard, batch: "+text+"}}\nedges: [in -> out]\n"), Options{})
		if p == nil {
			t.Fatal(ds)
		}
		equal(t, "batch "+text, p.Node("out").Batch, want)
	}
	equal(t, "window", p.Node("in").MaxInFlight, Window{})
	equal(t, "set", []bool{out.IsSet("type"), out.IsSet("batch"), p.Edges[0].IsSet("policy"), p.IsSet("limits")}, []bool{true, false, false, false})
}

func TestOptions(t *testing.T) {
	p := good(t, "options")
	in, work, out := p.Node("in"), p.Node("work"), p.Node("out")
	equal(t, "window", in.MaxInFlight, Window{500, 2 << 20})
	equal(t, "on_error", in.OnError, OnErrorDrop)
	equal(t, "workers", fmt.Sprint(work.Workers, work.Ordered, work.Timeout), "4 false 2s")
	equal(t, "batch", out.Batch, Batch{10, 1 << 10, pipe.Duration(time.Second), nil})
	equal(t, "retry", out.Retry, Retry{5, pipe.Duration(time.Minute), pipe.Duration(time.Second), pipe.Duration(2 * time.Second), 0, Budget{DefaultBudgetRatio, DefaultBudgetBurst}})
	equal(t, "set", []bool{out.IsSet("batch.events"), out.IsSet("retry.jitter"), out.IsSet("retry.max_wait")}, []bool{true, true, false})
	minute := pipe.Duration(time.Minute)
	equal(t, "defaults.edge", p.Edges[0].EdgeSettings, EdgeSettings{
		Buffer: Buffer{100, 1 << 20, minute}, Policy: Policy{Type: Block, Timeout: pipe.Duration(5 * time.Second), Then: DropOldest},
		OnDrop: "nack", Priority: 2, OnShrink: "evict",
	})
	e := p.Edge("work->out")
	equal(t, "buffer over defaults", e.Buffer, Buffer{7, 1 << 20, minute})
	equal(t, "min rate below base", e.Policy.MinRate, 0.005)
	equal(t, "key", e.Policy.Key.Source(), "user_id")
	equal(t, "policy is given as a whole", e.Policy.Timeout, pipe.Duration(0))
	equal(t, "rest", fmt.Sprint(e.OnDrop, " ", e.Priority, " ", e.OnShrink), "ack 0 keep")
	if e.Equal(p.Edges[0].EdgeSettings) || !e.Equal(e.EdgeSettings) {
		t.Error("Equal is wrong")
	}
}

func TestAnchors(t *testing.T) {
	p := good(t, "anchors")
	counts := fmt.Sprint(p.Sources[0].Component.(*ticker).Count, p.Sources[1].Component.(*ticker).Count, p.Sources[2].Component.(*ticker).Count)
	equal(t, "merged counts", counts, "5 7 9")
	equal(t, "first of several", p.Sources[2].Component.(*ticker).Small, uint8(1))
	equal(t, "alias", p.Node("also").Component.(*filter).Where.text, "status >= 500")
	var order []string
	for _, pair := range p.Node("map").Component.(*mapper).Set {
		order = append(order, pair.Key+"="+pair.Value.text)
	}
	equal(t, "order with a merge", order, []string{"before=x", "merged=y", "after=x"})
	equal(t, "edges", edgeIDs(p), "one->keep keep->map map->out two->also three->also also->out")
	equal(t, "merged buffer", p.Edge("three->also").Buffer.Events, 5)
}

func TestExpansion(t *testing.T) {
	p := good(t, "expansion")
	equal(t, "name", p.Name, "db.example")
	equal(t, "escapes", p.Description, "costs $5, ${HOST} and $$")
	equal(t, "set wins over what is missing", p.Admin.Listen, "127.0.0.1:9464")
	equal(t, "file without its line break", p.Admin.Token, "s3cr3t-from-file")
	equal(t, "plain number", p.Edges[0].Buffer.Events, 64)
	equal(t, "plain any", p.Node("plain").Component.(*ticker).Extra, any(int64(64)))
	equal(t, "duration", p.Edge("files->out").Policy.Timeout.D(), 64*time.Millisecond)
	in := p.Node("in").Component.(*ticker)
	equal(t, "quoted number", in.Count, int64(64))
	equal(t, "any", in.Extra, map[string]any{"plain": "64", "list": []any{int64(1), 2.5, true, nil, "x"}})
	files := p.Node("files").Component.(*fileSource)
	equal(t, "bool", files.Follow, true)
	equal(t, "inside a text", files.Paths, []string{"/var/db.example/a.log"})
	equal(t, "redacted", p.Redact(`http://u:hunter2-secret@db.example token "s3cr3t-from-file" plain`), `http://u:***@db.example token "***" plain`)
}

func TestRoute(t *testing.T) {
	p := good(t, "route")
	equal(t, "ports", p.Node("split").Ports, []pipe.Port{{Name: "zebra"}, {Name: "apple"}, {Name: "else", Optional: true}})
	equal(t, "edges", edgeIDs(p), "in->split split.zebra->z split.apple->a split.else->rest split.failed->dead z.failed->dead undecodable")
	e := p.Edge("undecodable")
	equal(t, "ends", []string{e.From, e.Port, e.To}, []string{"in", "failed", "dead"})
}

func TestSet(t *testing.T) {
	p := good(t, "set")
	equal(t, "name", p.Name, "renamed")
	equal(t, "emptied", p.Description, "")
	equal(t, "timeout", p.Shutdown.Timeout.D(), time.Second)
	equal(t, "by id in a chain", p.Edge("in->keep").Buffer, Buffer{1024, 1 << 20, 0})
	equal(t, "several", fmt.Sprint(p.Edge("keep->out").Policy.Type, " ", p.Edge("keep->out").Buffer.Events), "drop-newest 9")
	equal(t, "beside the short form", p.Edge("keep.failed->out").Buffer, Buffer{5, 16 << 20, pipe.Duration(3 * time.Second)})
	equal(t, "by name", p.Edge("main").Priority, 3)
	equal(t, "chain of two by index", p.Edge("in.failed->out").OnDrop, "nack")
	equal(t, "field", p.Node("out").Component.(*fileSink).Path, "other.ndjson")
	equal(t, "new node", p.Node("more").Type, "discard")
	equal(t, "added to a mapping", p.Node("in").Component.(*ticker).Event[1].Key, "extra")
	equal(t, "place", p.Node("out").At("path"), Pos{Set: 7})
	d := p.Diagnostic(p.Node("out").At("path"), Warning, "code", "message", "hint")
	equal(t, "diagnostic", d.Text(), "--set #7: warning: message\n      | sinks.out.path=other.ndjson\n      | hint\n")
}

func TestSpelling(t *testing.T) {
	p := good(t, "spelling")
	in, out := p.Node("in").Component.(*fileSource), p.Node("out").Component.(*fileSink)
	equal(t, "block text", p.Description, "two\nlines\n")
	equal(t, "one text for a list", in.Paths, []string{"access.log"})
	equal(t, "codec", in.Codec, codec{Type: "csv", Delimiter: ";", Columns: []string{"1", "b"}})
	equal(t, "date as text", out.Path, "2024-01-01")
	equal(t, "size", out.MaxSize, pipe.Size(1000000))
	equal(t, "pointer", out.Codec, &codec{Type: "json"})
	equal(t, "over a pointer's default", p.Node("out2").Component.(*fileSink).Codec, &codec{Type: "lines", Header: true})
	equal(t, "place after CR LF and a byte order mark", p.Node("in").Pos, Pos{Line: 8, Col: 3})
}

func TestTooLarge(t *testing.T) {
	_, ds := Parse([]byte("version: 1\n#"+strings.Repeat("x", MaxFileBytes)), Options{File: "big.yaml"})
	equal(t, "message", fmt.Sprint(ds.Err()), "big.yaml: error: cannot read the file: it has 4194316 bytes, more than the limit of 4MiB")
}

// TestHugeFiles parses files that would take minutes if anything in them were
// looked at again and again.
func TestHugeFiles(t *testing.T) {
	repeat := func(s string) string { return strings.Repeat(s, (1<<18)/len(s)) }
	f := func(doc, code string) {
		t.Helper()
		large := func(string) ([]byte, error) { return []byte(strings.Repeat("x", 1<<20)), nil }
		p, ds := Parse([]byte(doc), Options{Env: testEnv, ReadFile: large})
		if p != nil || len(ds) > maxDiagnostics+1 {
			t.Errorf("%.40s…: got %d diagnostics", doc, len(ds))
		}
		for _, d := range ds {
			if d.Code == code {
				return
			}
			if d.Code == "expansion" && code != "too-many" {
				t.Errorf("%.40s…: %v", doc, d)
			}
		}
		t.Errorf("%.40s…: no %s among %d diagnostics, first %v", doc, code, len(ds), ds[0])
	}
	f("edges: [\""+repeat("a -> ")+"a\"]", "too-many")
	f("edges:\n  - a\n"+strings.Repeat("    -> b\n", 10_000), "unknown-node")
	f("edges:\n"+repeat("  - a\n"), "too-many")
	f("edges:\n"+repeat("  - a -> b\n"), "too-many")
	f("description: \""+repeat("${EMPTY:-")+"\"", "expansion")
	f("description: \""+strings.Repeat("${EMPTY:-", 30_000)+strings.Repeat("}", 30_000)+"\"", "expansion")
	f("description: |\n"+repeat("  x ${NOWHERE}\n"), "too-many")
	f("a: &a [x, x, x, x, x, x, x, x, x, x]\nb: ["+repeat("*a, ")+"]\n", "alias")
	f(repeat("- ${file:large}\n"), "wrong-type")
	f("name:\n"+strings.Repeat("- ${file:large}\n", 100), "expansion")
	f("x: &x ${file:large}\nname: ["+strings.Repeat("*x, ", 100)+"]\n", "wrong-type")
	f("name: \""+repeat("x")+"\"", "bad-name")
	f("sources: {in: {type: ticker, event: {a: \""+repeat("x")+"?\"}}}", "bad-value")
}
