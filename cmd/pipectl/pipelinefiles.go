package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// pipelineFiles turns the arguments of a command into files, in order and each
// once: a folder means the YAML files in it and below, a pattern those that
// match it, "-" standard input. A file that does not exist stays in the list:
// reading it says so.
func pipelineFiles(args []string) ([]string, error) {
	var files []string
	for _, arg := range args {
		more, err := filesOf(arg)
		if err != nil {
			return nil, err
		}
		for _, f := range more {
			if !slices.Contains(files, f) {
				files = append(files, f)
			}
		}
	}
	return files, nil
}

func filesOf(arg string) ([]string, error) {
	if arg == "-" {
		return []string{arg}, nil
	}
	info, err := os.Stat(arg)
	switch {
	case err == nil && info.IsDir():
		return filesBelow(arg)
	case err == nil || !strings.ContainsAny(arg, "*?[{"):
		return []string{arg}, nil
	}
	found, err := doublestar.FilepathGlob(arg, doublestar.WithFilesOnly())
	if err != nil {
		return nil, usagef("pattern %q: %w", arg, err)
	}
	if len(found) == 0 {
		return nil, usagef("no file matches %q", arg)
	}
	slices.Sort(found)
	return found, nil
}

// filesBelow returns the YAML files of a folder and of those below it. Hidden
// ones are left out: Kubernetes keeps copies of mounted files there.
func filesBelow(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(d.Name(), ".") && path != dir
		switch {
		case d.IsDir() && hidden:
			return filepath.SkipDir
		case !d.IsDir() && !hidden && isYAML(path):
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		return nil, usagef("%w", err)
	}
	if len(files) == 0 {
		return nil, usagef("no .yaml or .yml file in %s", dir)
	}
	return files, nil
}

func isYAML(path string) bool {
	ext := filepath.Ext(path)
	return ext == ".yaml" || ext == ".yml"
}
