package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
)

// byHand builds a pipeline without YAML.
func byHand() *Pipeline {
	return &Pipeline{
		Name:    "hand",
		Sources: []*Node{NewNode(pipe.KindSource, "in", "ticker", &ticker{})},
		Stages:  []*Node{NewNode(pipe.KindStage, "split", "", &route{Cases: pipe.OrderedMap[rule]{{Key: "big"}}})},
		Sinks:   []*Node{NewNode(pipe.KindSink, "out", "discard", nil)},
		Edges:   []*Edge{{From: "in", To: "split"}, {From: "split", Port: "big", To: "out"}},
	}
}

func TestPipelineByHand(t *testing.T) {
	p := byHand()
	if ds := p.Complete(); len(ds) > 0 {
		t.Fatal(ds.Err())
	}
	equal(t, "ids", edgeIDs(p), "in->split split.big->out")
	equal(t, "settings", p.Edges[1].EdgeSettings, DefaultEdge())
	equal(t, "ports", p.Stages[0].Ports, []pipe.Port{{Name: "big"}, {Name: "else", Optional: true}})
	equal(t, "ordered", p.Stages[0].Ordered, true)
	equal(t, "place", p.Edges[0].At("policy"), Pos{})
	mode, ok := p.Stages[0].Option("mode")
	equal(t, "option", fmt.Sprint(mode, ok), "true")
	if _, ok := p.Stages[0].Option("interval"); ok {
		t.Error("route has no interval")
	}
	if p.Sinks[0].Component == nil {
		t.Error("the registered sink was not made")
	}
	if ds := p.Complete(); len(ds) > 0 {
		t.Errorf("a second Complete: %v", ds)
	}
}

func TestPipelineByHandMistakes(t *testing.T) {
	f := func(change func(p *Pipeline), want ...string) {
		t.Helper()
		p := byHand()
		change(p)
		ds := p.Complete()
		var got []string
		for _, d := range ds {
			got = append(got, d.Error())
		}
		for i := range want {
			want[i] = "pipeline: error: " + want[i]
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	f(func(p *Pipeline) { p.Edges[0].To = "splt" }, `unknown node "splt"`)
	f(func(p *Pipeline) { p.Edges = p.Edges[:1] }, `stage split: its output "big" is not connected`, "sink out: no edge leads to it")
	f(func(p *Pipeline) { p.Edges[0].Policy.Type = "drop" }, `edge in->split: policy.type: unknown policy "drop"`)
	f(func(p *Pipeline) { p.Edges[0].Policy = Policy{Type: Sample, BaseRate: 2} }, "edge in->split: policy.base_rate: must be above 0 and at most 1, got 2")
	f(func(p *Pipeline) { p.Edges[0].Buffer.Events = -1 }, "edge in->split: buffer.events: must be at least 1, got -1")
	f(func(p *Pipeline) { p.Edges[0].OnDrop = "maybe" }, `edge in->split: on_drop: unknown value "maybe"`)
	f(func(p *Pipeline) { p.Sinks[0].Retry.Jitter = 3 }, "sink out: retry.jitter: must be at most 1, got 3")
	f(func(p *Pipeline) { p.Limits.MaxEventBytes = 2 << 30 }, "limits.max_event_bytes: must be at most 1GiB, got 2GiB")
	f(func(p *Pipeline) { p.Version = 9 }, "version: version 9 is not known")
	f(func(p *Pipeline) { p.Name = "a b" }, `name: "a b" is not a pipeline name`)
	f(func(p *Pipeline) { p.Admin.Listen = ":80" }, "admin.listen: :80 can be reached from other machines and needs a token")
	f(func(p *Pipeline) { p.Sources[0].Component = &discard{} }, "source in: its component is not a source")
	f(func(p *Pipeline) { p.Sinks[0].Component, p.Sinks[0].Type = nil, "file2" }, `sink out: unknown sink type "file2"`)
	f(func(p *Pipeline) { p.Sinks[0].Kind = "drain" }, `drain out: "drain" is not a kind of node`)
	f(func(p *Pipeline) { p.Sinks[0].Component = &httpSink{URL: "ftp://x"} }, `sink out: the address: url: "ftp://x" has no scheme`)
	f(func(p *Pipeline) { p.Stages[0].Name = "in" }, "stage in: the name is taken by the source", `unknown node "split"`)
	f(func(p *Pipeline) { p.Edges[1].Name, p.Edges[0].Name = "x", "x" }, `edge split.big->out: the name "x" is taken`)
}

func TestManyNodes(t *testing.T) {
	const n = 2000
	p := &Pipeline{Sources: []*Node{NewNode(pipe.KindSource, "n0", "", &ticker{})}}
	for i := 1; i < n; i++ {
		p.Stages = append(p.Stages, NewNode(pipe.KindStage, fmt.Sprint("n", i), "", &filter{}))
		p.Edges = append(p.Edges, &Edge{From: fmt.Sprint("n", i-1), To: fmt.Sprint("n", i)})
	}
	p.Sinks = []*Node{NewNode(pipe.KindSink, "out", "", &discard{})}
	p.Edges = append(p.Edges, &Edge{From: fmt.Sprint("n", n-1), To: "out"})
	if ds := p.Complete(); len(ds) > 0 {
		t.Fatal(ds)
	}
	p.Edges = append(p.Edges, &Edge{From: fmt.Sprint("n", n-1), To: "n1"})
	ds := p.Complete()
	if len(ds) != 1 || !strings.HasPrefix(ds[0].Message, "the edges form a cycle: n1 -> n2 -> ") || len(ds[0].Message) > 200 {
		t.Errorf("got %v, want one cycle, shortened", ds)
	}
}

func TestPolicyFacts(t *testing.T) {
	f := func(s EdgeSettings, loses string, some, forever bool) {
		t.Helper()
		s.fill()
		equal(t, "loses", s.Loses(), loses)
		a, b := s.Policy.Waits()
		equal(t, "waits", []bool{a, b}, []bool{some, forever})
	}
	second := pipe.Duration(time.Second)
	other := EdgeSettings{Policy: Policy{Type: DropOldest, Timeout: second, Then: Fail, BaseRate: 1}}
	other.fill()
	equal(t, "options of other policies", other.Policy, Policy{Type: DropOldest})
	f(EdgeSettings{}, "", true, true)
	f(EdgeSettings{Policy: Policy{Type: DropOldest}}, "is drop-oldest", false, false)
	f(EdgeSettings{Policy: Policy{Type: Sample}}, "is sample", false, false)
	f(EdgeSettings{Policy: Policy{Type: Block, Timeout: second}}, "is drop-newest after waiting 1s", true, false)
	f(EdgeSettings{Policy: Policy{Type: Block, Timeout: second, Then: Fail}}, "", true, true)
	f(EdgeSettings{Buffer: Buffer{Age: second}}, "drops events older than 1s", true, true)
}

func TestDescribe(t *testing.T) {
	fields, ok := Describe(pipe.KindSink, "http")
	if !ok {
		t.Fatal("http is not known")
	}
	byName := map[string]Field{}
	var order []string
	for _, f := range fields {
		byName[f.Name] = f
		order = append(order, f.Name)
	}
	equal(t, "order", strings.Join(order, " "), "user password url method headers endpoints ratio limit")
	f := func(name, typ, def string) {
		t.Helper()
		equal(t, name, []string{byName[name].Type, byName[name].Default}, []string{typ, def})
	}
	f("url", "text", "")
	f("method", "text", "POST")
	f("headers", "mapping of text", "")
	f("endpoints", "list of mapping", "")
	f("ratio", "number", "")
	f("limit", "size", "")
	equal(t, "rules", fmt.Sprintln(byName["url"].Required, byName["method"].Enum, byName["ratio"].Above, byName["ratio"].Max, byName["password"].Secret), "true [POST PUT] 0 1 true\n")
	equal(t, "doc", []string{byName["user"].Owner, byName["user"].GoName}, []string{"github.com/pipectl/pipectl/engine/config.login", "User"})
	equal(t, "nested", byName["endpoints"].Fields[0].Name, "url")
	if _, ok := Describe(pipe.KindSink, "nothing"); ok {
		t.Error("an unknown type was described")
	}
	source, _ := Describe(pipe.KindSource, "file")
	equal(t, "short form", []string{source[1].Type, source[1].Default, source[4].Default}, []string{"text or mapping", "lines", "1s"})
	tick, _ := Describe(pipe.KindSource, "ticker")
	equal(t, "words", []string{tick[0].Type, tick[1].Type, tick[4].Type, tick[5].Type, tick[6].Type}, []string{"rate", "whole number", "mapping of text", "value", "mapping of duration"})
}

func TestDescribeEngineKeys(t *testing.T) {
	f := func(fields []Field, want string) {
		t.Helper()
		var got []string
		for _, f := range fields {
			name := f.Name
			if f.Default != "" {
				name += "=" + f.Default
			}
			for _, inner := range f.Fields {
				name += "," + inner.Name
			}
			got = append(got, name)
		}
		equal(t, "keys", strings.Join(got, " "), want)
	}
	f(DescribeNode(pipe.KindSource), "type on_error=stop max_in_flight,events,bytes")
	f(DescribeNode(pipe.KindStage), "type on_error=stop workers=1 ordered=true timeout max_stuck=4 deadline retry,max_attempts,max_elapsed,initial,max,jitter,budget breaker,failure_ratio,window,min_requests,wait,max_wait,when_open,half_open rate_limit,rate,burst,bytes,burst_bytes dead_letters,max_ratio,window,min_events")
	f(DescribeNode(pipe.KindSink), "type on_error=stop timeout max_stuck=4 batch,events,bytes,interval,adaptive deadline retry,max_attempts,max_elapsed,initial,max,jitter,budget breaker,failure_ratio,window,min_requests,wait,max_wait,when_open,half_open rate_limit,rate,burst,bytes,burst_bytes concurrency,max,adaptive,min dead_letters,max_ratio,window,min_events")
	f(DescribeEdge(), "from to name buffer=1024,events,bytes,age policy=block,type,timeout,then,base_rate,min_rate,threshold,key on_drop=ack priority on_shrink=keep")
	f(DescribePipeline(), "version=1 name description limits,memory,max_event_bytes,stall_after shutdown,timeout admin,listen,token,tls tracing,endpoint,ratio,headers defaults,edge")
}

// crowded has a key that the engine has too.
type crowded struct {
	sink
	Timeout pipe.Duration `yaml:"timeout"`
}

func TestKeysMustNotCollide(t *testing.T) {
	pipe.RegisterSink("crowded", func() pipe.Sink { return &crowded{} })
	defer func() {
		if r := fmt.Sprint(recover()); !strings.Contains(r, `the key "timeout" has two meanings`) {
			t.Errorf("got %s, want a complaint about timeout", r)
		}
	}()
	Describe(pipe.KindSink, "crowded")
}
