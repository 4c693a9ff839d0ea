package config

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pipectl/pipectl/engine/pipe"
)

// The components of the tests: one field of every sort.

func init() {
	pipe.RegisterSource("file", func() pipe.Source { return &fileSource{Codec: codec{Type: "lines"}, Poll: pipe.Duration(1e9)} })
	pipe.RegisterSource("ticker", func() pipe.Source { return &ticker{} })
	pipe.RegisterStage("filter", func() pipe.Stage { return &filter{} })
	pipe.RegisterStage("map", func() pipe.Stage { return &mapper{} })
	pipe.RegisterStage("parse", func() pipe.Stage { return &parse{} })
	pipe.RegisterStage("route", func() pipe.Stage { return &route{Mode: "first"} })
	pipe.RegisterSink("file", func() pipe.Sink {
		return &fileSink{Mode: "append", Sync: syncing{Every: 100}, Codec: &codec{Type: "lines"}}
	})
	pipe.RegisterSink("http", func() pipe.Sink { return &httpSink{Method: "POST"} })
	pipe.RegisterSink("discard", func() pipe.Sink { return &discard{} })
}

type source struct{}

func (source) Read(context.Context, *pipe.Batch) error { return nil }

type stage struct{}

func (stage) Process(context.Context, []*pipe.Event, *pipe.Out) error { return nil }

type sink struct{}

func (sink) Write(context.Context, []*pipe.Event) error { return nil }

// codec is a text or a mapping.
type codec struct {
	Type      string   `yaml:"type" enum:"lines,csv,json"`
	Delimiter string   `yaml:"delimiter"`
	Header    bool     `yaml:"header"`
	Columns   []string `yaml:"columns"`
}

func (c *codec) UnmarshalText(text []byte) error { c.Type = string(text); return nil }

func (c *codec) Validate() error {
	if c.Type != "lines" && c.Type != "csv" && c.Type != "json" {
		return pipe.Fieldf("type", "unknown codec %q", c.Type)
	}
	if len(c.Delimiter) > 1 {
		return &pipe.FieldError{Field: "delimiter", Err: fmt.Errorf("must be one character, got %q", c.Delimiter), Hint: `such as ";"`}
	}
	return nil
}

type fileSource struct {
	source
	Paths      []string      `yaml:"paths" required:"true"`
	Codec      codec         `yaml:"codec"`
	Follow     bool          `yaml:"follow"`
	Checkpoint string        `yaml:"checkpoint"`
	Poll       pipe.Duration `yaml:"poll" min:"10ms" max:"1m"`
}

func (s *fileSource) Validate() error {
	var errs []error
	for i, p := range s.Paths {
		if p == "" {
			errs = append(errs, pipe.Fieldf(fmt.Sprintf("paths[%d]", i), "must not be empty"))
		}
	}
	if s.Follow && s.Checkpoint == "" {
		errs = append(errs, &pipe.FieldError{Field: "checkpoint", Err: errors.New("is needed with follow"), Hint: "add checkpoint: a file name"})
	}
	return errors.Join(errs...)
}

type ticker struct {
	source
	Rate  pipe.Rate                `yaml:"rate"`
	Count int64                    `yaml:"count" min:"0"`
	Small uint8                    `yaml:"small"`
	Tiny  int8                     `yaml:"tiny"`
	Event pipe.OrderedMap[rule]    `yaml:"event"`
	Extra any                      `yaml:"extra"`
	Named map[string]pipe.Duration `yaml:"named"`
}

// rule is an expression that must not hold a "?".
type rule struct{ text string }

func (r *rule) UnmarshalText(text []byte) error {
	if i := strings.IndexByte(string(text), '?'); i >= 0 {
		return &pipe.OffsetError{Offset: i, Err: errors.New(`unexpected "?"`), Hint: "remove it"}
	}
	r.text = string(text)
	return nil
}

type filter struct {
	stage
	Where rule `yaml:"where" required:"true"`
}

type mapper struct {
	stage
	Set    pipe.OrderedMap[rule] `yaml:"set"`
	Rename map[string]string     `yaml:"rename"`
	Delete []string              `yaml:"delete"`
}

type parse struct {
	stage
	Format string `yaml:"format" enum:"json,logfmt,apache_combined" required:"true"`
	Field  string `yaml:"field"`
}

type route struct {
	stage
	Cases pipe.OrderedMap[rule] `yaml:"cases" required:"true"`
	Mode  string                `yaml:"mode" enum:"first,all"`
}

func (r *route) Ports() []pipe.Port {
	var ports []pipe.Port
	for _, c := range r.Cases {
		ports = append(ports, pipe.Port{Name: c.Key})
	}
	return append(ports, pipe.Port{Name: "else", Optional: true})
}

type syncing struct {
	Every int           `yaml:"every" min:"1" max:"1000"`
	After pipe.Duration `yaml:"after" above:"0s"`
}

type fileSink struct {
	sink
	Path    string    `yaml:"path" required:"true"`
	Mode    string    `yaml:"mode" enum:"append,truncate"`
	MaxSize pipe.Size `yaml:"max_size" min:"4KiB" max:"1TiB"`
	Codec   *codec    `yaml:"codec"`
	Sync    syncing   `yaml:"sync"`
}

type login struct {
	User     string `yaml:"user"`
	Password string `yaml:"password" secret:"true"`
}

type endpoint struct {
	URL    string `yaml:"url" required:"true"`
	Weight int    `yaml:"weight" min:"1"`
}

type httpSink struct {
	sink
	login     `yaml:",inline"`
	URL       string            `yaml:"url" required:"true"`
	Method    string            `yaml:"method" enum:"POST,PUT"`
	Headers   map[string]string `yaml:"headers"`
	Endpoints []endpoint        `yaml:"endpoints"`
	Ratio     float64           `yaml:"ratio" above:"0" max:"1"`
	Limit     pipe.Size         `yaml:"limit" secret:"true"`
	Ignored   string
}

func (s *httpSink) Validate() error {
	if !strings.HasPrefix(s.URL, "http") {
		return fmt.Errorf("the address: %w", pipe.Fieldf("url", "%q has no scheme", s.URL))
	}
	return nil
}

type discard struct{ sink }

// MaxConcurrent makes it a sink that several writers may use.
func (*httpSink) MaxConcurrent() int { return 8 }
