package engine_test

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/pipectl/pipectl/engine"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"

	_ "github.com/pipectl/pipectl/sinks"   // registers the sink types
	_ "github.com/pipectl/pipectl/sources" // registers the source types
	_ "github.com/pipectl/pipectl/stages"  // registers the stage types
)

// A Go program runs a pipeline without the command line: it reads the YAML,
// builds the engine, runs it and looks at the receipt.
func Example() {
	cfg, diags := config.Parse([]byte(`
version: 1
name: squares
sources:
  in: {type: generate, count: 6, event: {n: seq}}
stages:
  even: {type: filter, where: n % 2 == 0}
  square: {type: map, set: {square: n * n}}
sinks:
  out: {type: stdout}
edges:
  - in -> even -> square -> out
`), config.Options{File: "squares.yaml"})
	if err := diags.Err(); err != nil {
		fmt.Println(err)
		return
	}
	e, err := engine.New(cfg, engine.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	receipt, err := e.Run(context.Background())
	fmt.Println(receipt.Outcome, receipt.Balance.Delivered, "delivered", receipt.Balance.Filtered, "filtered", err)
	// Output:
	// {"n":0,"square":0}
	// {"n":2,"square":4}
	// {"n":4,"square":16}
	// drained 3 delivered 3 filtered <nil>
}

func init() {
	pipe.RegisterSource("words", func() pipe.Source { return &Words{} })
	pipe.RegisterSink("print", func() pipe.Sink { return &Print{Prefix: "- "} })
}

// Words reads the words of a text.
type Words struct {
	// Text is where the words are.
	Text string `yaml:"text"`

	next int
}

// Read adds one word.
func (w *Words) Read(_ context.Context, b *pipe.Batch) error {
	words := strings.Fields(w.Text)
	if w.next == len(words) {
		return io.EOF
	}
	b.Add(record.FromText([]byte(words[w.next])), int64(w.next+1))
	w.next++
	return nil
}

// Print prints events.
type Print struct {
	// Prefix is printed before each event, "- " by default.
	Prefix string `yaml:"prefix"`
}

// Write prints in. Nil says that all of it is where it belongs.
func (p *Print) Write(_ context.Context, in []*pipe.Event) error {
	for _, e := range in {
		fmt.Printf("%s%s\n", p.Prefix, e.Body.AppendText(nil))
	}
	return nil
}

// A program brings its own components: it registers a type in init, and the YAML
// can name it.
func Example_components() {
	cfg, diags := config.Parse([]byte(`
version: 1
name: words
sources: {in: {type: words, text: bounded accounted changeable}}
sinks: {out: {type: print, prefix: "* "}}
edges: [in -> out]
`), config.Options{File: "words.yaml"})
	if err := diags.Err(); err != nil {
		fmt.Println(err)
		return
	}
	e, err := engine.New(cfg, engine.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	receipt, _ := e.Run(context.Background())
	fmt.Println(receipt.Sources["in"].Acked, "acked")
	// Output:
	// * bounded
	// * accounted
	// * changeable
	// 3 acked
}
