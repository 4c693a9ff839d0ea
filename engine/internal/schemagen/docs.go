package main

import (
	"fmt"
	"go/ast"
	"go/doc"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
)

const module = "github.com/pipectl/pipectl/"

// comments are the doc comments of structs and their fields, read package by
// package from the module's source.
type comments struct {
	root     string
	packages map[string]bool
	types    map[string]string            // by "path.Type"
	fields   map[string]map[string]string // by "path.Type", then by name
}

func newComments(root string) *comments {
	return &comments{root: root, packages: map[string]bool{}, types: map[string]string{}, fields: map[string]map[string]string{}}
}

// typ returns the comment of a type, named by the path of its package and its
// name. name is what the user calls it.
func (c *comments) typ(owner, name string) (string, error) {
	if err := c.read(owner); err != nil {
		return "", err
	}
	goName := owner[strings.LastIndex(owner, ".")+1:]
	text := c.types[owner]
	if rest, ok := strings.CutPrefix(text, goName+" "); ok {
		text = name + " " + rest
	}
	return flow(text), nil
}

// field returns the comment of a struct's field. keys gives the YAML key of each
// field of the struct by its Go name.
func (c *comments) field(owner, goName string, keys map[string]string) (string, error) {
	if err := c.read(owner); err != nil {
		return "", err
	}
	return flow(inYAML(c.fields[owner][goName], goName, keys)), nil
}

// read reads the package of a type.
func (c *comments) read(owner string) error {
	path := owner[:strings.LastIndex(owner, ".")]
	if c.packages[path] {
		return nil
	}
	c.packages[path] = true
	dir, ok := strings.CutPrefix(path, module)
	if !ok {
		return fmt.Errorf("%s is not a package of this module", path)
	}
	files, err := filepath.Glob(filepath.Join(c.root, dir, "*.go"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("%s: %w", dir, fs.ErrNotExist)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		c.file(f, path)
	}
	return nil
}

func (c *comments) file(f *ast.File, path string) {
	for _, d := range f.Decls {
		gen, ok := d.(*ast.GenDecl)
		if !ok || gen.Tok != token.TYPE {
			continue
		}
		for _, s := range gen.Specs {
			spec := s.(*ast.TypeSpec)
			text := spec.Doc.Text()
			if text == "" {
				text = gen.Doc.Text()
			}
			owner := path + "." + spec.Name.Name
			c.types[owner] = text
			if st, ok := spec.Type.(*ast.StructType); ok {
				c.fields[owner] = fieldComments(st)
			}
		}
	}
}

func fieldComments(st *ast.StructType) map[string]string {
	list := map[string]string{}
	for _, f := range st.Fields.List {
		text := f.Doc.Text()
		if text == "" {
			text = f.Comment.Text()
		}
		for _, name := range f.Names {
			list[name.Name] = text
		}
	}
	return list
}

// word finds the words of a comment that may be names of fields, each with what
// is before it.
var word = regexp.MustCompile(`(^|[^A-Za-z0-9_."'])([A-Z][A-Za-z0-9]*)\b`)

// inYAML calls fields by their keys: the one that the comment is about at its
// beginning, the others wherever they cannot be the first word of a sentence.
func inYAML(text, goName string, keys map[string]string) string {
	if rest, ok := strings.CutPrefix(text, goName); ok && rest != "" && strings.ContainsAny(rest[:1], " ,\n") {
		text = keys[goName] + rest
	}
	var b strings.Builder
	last := 0
	for _, m := range word.FindAllStringSubmatchIndex(text, -1) {
		name := text[m[4]:m[5]]
		key, known := keys[name]
		before := strings.TrimRight(text[:m[4]], " \n\t")
		starts := before == "" || strings.HasSuffix(before, ".") || strings.HasSuffix(before, ":")
		if !known || name == strings.ToUpper(name) || starts && !strings.Contains(key, "_") {
			continue
		}
		b.WriteString(text[last:m[4]] + key)
		last = m[5]
	}
	return b.String() + text[last:]
}

// flow renders a comment with a line for each paragraph.
func flow(text string) string {
	p := comment.Parser{LookupPackage: nowhere, LookupSym: func(string, string) bool { return false }}
	out := (&comment.Printer{TextWidth: -1, TextCodePrefix: "    "}).Text(p.Parse(text))
	return strings.TrimRight(string(out), "\n")
}

func nowhere(string) (string, bool) { return "", false }

// synopsis is the first sentence of a comment.
func synopsis(text string) string {
	return strings.TrimSuffix(new(doc.Package).Synopsis(text), ".")
}
