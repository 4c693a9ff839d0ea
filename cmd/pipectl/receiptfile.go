package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pipectl/pipectl/engine"
)

// checkReceiptPath finds out at the start, not after hours of work, that a
// receipt could not be written.
func checkReceiptPath(path string) error {
	if path == "" || path == "-" {
		return nil
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fmt.Errorf("receipt %s: is a directory", path)
	}
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("receipt %s: directory %s does not exist", path, dir)
	case err != nil:
		return fmt.Errorf("receipt %s: %w", path, err)
	case !info.IsDir():
		return fmt.Errorf("receipt %s: %s is not a directory", path, dir)
	}
	return nil
}

// saveReceipt writes the receipt as JSON to a file, or to out when path is "-".
func saveReceipt(path string, out io.Writer, r engine.Receipt) error {
	if path == "-" {
		return encodeJSON(out, r)
	}
	if err := replaceFile(path, func(w io.Writer) error { return encodeJSON(w, r) }); err != nil {
		return fmt.Errorf("receipt %s: %w", path, err)
	}
	return nil
}

// encodeJSON writes v as indented JSON.
func encodeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // edge ids are "a->b"
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// replaceFile writes a file so that others see the old content or the new one,
// never a part. What is not a regular file (a pipe, /dev/null) is written to.
func replaceFile(path string, write func(io.Writer) error) (err error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(path); err == nil {
		if !info.Mode().IsRegular() {
			return writeInto(path, write)
		}
		mode = info.Mode().Perm()
	}
	tmp := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%d.tmp", filepath.Base(path), os.Getpid()))
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return plainError(err)
	}
	defer func() {
		if err != nil {
			os.Remove(tmp)
			err = plainError(err)
		}
	}()
	if err = errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func writeInto(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return plainError(err)
	}
	return errors.Join(write(f), f.Close())
}

// plainError leaves out the operation and the temporary path of a file error:
// the message names the file already.
func plainError(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
