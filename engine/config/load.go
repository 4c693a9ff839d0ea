package config

import (
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"
)

// Options say how to read a file.
type Options struct {
	// File is the name of the file in messages. Load sets it when it is empty;
	// Parse uses "pipeline.yaml".
	File string
	// Set are changes "path=value" that win over the file, in order: as
	// "edges[2].buffer=10", "sinks.out.path=x", "edges.keep->shape.policy=block".
	Set []string
	// Env looks up an environment variable for ${NAME}. Default os.LookupEnv.
	Env func(name string) (string, bool)
	// ReadFile reads a file for ${file:path}. Default: any file up to 1MiB,
	// relative to the working directory.
	ReadFile func(path string) ([]byte, error)
}

// Load reads, decodes and checks the file at path. The pipeline is nil when the
// diagnostics have errors. It does no I/O but reading the file and those named
// by ${file:}.
func Load(path string, o Options) (*Pipeline, Diagnostics) {
	if o.File == "" {
		o.File = path
	}
	data, err := readLimited(path, MaxFileBytes)
	if err != nil {
		r := &reporter{file: o.File}
		code := "read"
		if _, large := err.(*sizeError); large {
			code = "too-large"
		}
		r.error(Pos{}, code, "cannot read the file: "+plainError(err), "")
		return nil, r.finish()
	}
	return Parse(data, o)
}

// Parse is Load for a file that is in memory already.
func Parse(data []byte, o Options) (*Pipeline, Diagnostics) {
	if o.File == "" {
		o.File = "pipeline.yaml"
	}
	r := &reporter{file: o.File, sets: o.Set}
	root := r.read(data, "a mapping such as version: 1")
	if root == nil {
		return nil, r.finish()
	}
	for i, arg := range o.Set {
		r.applySet(root, i+1, arg)
	}
	newExpander(r, o).tree(root, "")
	p := decodePipeline(r, root)
	p.File, p.text, p.sets = o.File, r.text, o.Set
	if p.Name == "" {
		p.Name = nameFromFile(o.File)
	}
	p.fill()
	p.checkGraph(r)
	ds := r.finish()
	if ds.HasErrors() {
		return nil, ds
	}
	r.secrets.seal()
	p.secrets = r.secrets
	return p, ds
}

// read turns bytes into a mapping, or reports why it cannot. want says what the
// mapping is, for "expected …".
func (r *reporter) read(data []byte, want string) *node {
	if len(data) > MaxFileBytes {
		r.error(Pos{}, "too-large", "cannot read the file: "+(&sizeError{int64(len(data)), MaxFileBytes}).Error(), "")
		return nil
	}
	data = []byte(strings.TrimPrefix(string(data), bom))
	r.text = splitText(data)
	if off, msg, hint := checkEncoding(data); off >= 0 {
		r.error(at(data, off), "encoding", msg, hint)
		return nil
	}
	doc := r.parseYAML(data)
	if doc == nil {
		return nil
	}
	c := converter{r: r}
	root := c.node(doc, 0)
	if root.kind != mapNode {
		if !root.bad {
			r.error(root.pos, "wrong-type", "expected "+want+", got "+root.what(), "")
		}
		return nil
	}
	return root
}

func newExpander(r *reporter, o Options) *expander {
	x := &expander{r: r, env: o.Env, readFile: o.ReadFile, done: map[*yaml.Node]*expansion{}}
	if x.env == nil {
		x.env = os.LookupEnv
	}
	if x.readFile == nil {
		x.readFile = func(path string) ([]byte, error) { return readLimited(path, maxSecretFile) }
	}
	return x
}

// nameFromFile makes a pipeline's name from its file's.
func nameFromFile(file string) string {
	base := filepath.Base(file)
	base = strings.TrimSuffix(base, filepath.Ext(base))
	if !pipelineName.MatchString(base) {
		return "pipeline"
	}
	return base
}
