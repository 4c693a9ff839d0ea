package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// job is one comparison: a pipeline and a hand-written loop with the same output.
type job struct {
	yaml func(in, dir string) string
	hand func(in, dir string) error
}

var jobNames = []string{"lines", "filter", "filter_map", "route"}

var jobs = map[string]job{
	"lines":      {linesYAML, linesHand},
	"filter":     {filterYAML, filterHand},
	"filter_map": {filterMapYAML, filterMapHand},
	"route":      {routeYAML, routeHand},
}

// linesYAML takes lines through three edges untouched.
func linesYAML(in, dir string) string {
	return fmt.Sprintf(`version: 1
name: lines
sources: {in: {type: file, paths: [%q], codec: lines}}
stages:
  one: {type: filter, where: 'true'}
  two: {type: filter, where: 'true'}
sinks: {out: {type: file, path: %q, codec: lines}}
edges: [in -> one -> two -> out]
`, in, dir+"/out.log")
}

func linesHand(in, dir string) error {
	return each(in, []string{dir + "/out.log"}, func(line []byte, out []*writer) { out[0].line(line) })
}

// filterYAML reads two fields of JSON events, in two stages.
func filterYAML(in, dir string) string {
	return fmt.Sprintf(`version: 1
name: filter
sources: {in: {type: file, paths: [%q], codec: ndjson}}
stages:
  failed: {type: filter, where: 'status >= 400'}
  large: {type: filter, where: 'bytes > 500_000'}
sinks: {out: {type: file, path: %q, codec: ndjson}}
edges: [in -> failed -> large -> out]
`, in, dir+"/out.ndjson")
}

func filterHand(in, dir string) error {
	return each(in, []string{dir + "/out.ndjson"}, func(line []byte, out []*writer) {
		if intField(line, "status") >= 400 && intField(line, "bytes") > 500_000 {
			out[0].line(line)
		}
	})
}

// filterMapYAML filters, computes a field and removes one.
func filterMapYAML(in, dir string) string {
	return fmt.Sprintf(`version: 1
name: filter_map
sources: {in: {type: file, paths: [%q], codec: ndjson}}
stages:
  keep: {type: filter, where: 'status >= 300'}
  shape: {type: map, set: {kind: '"slow"', kib: 'bytes / 1024.0'}, delete: [agent]}
sinks: {out: {type: file, path: %q, codec: ndjson}}
edges: [in -> keep -> shape -> out]
`, in, dir+"/out.ndjson")
}

func filterMapHand(in, dir string) error {
	var buf []byte
	return each(in, []string{dir + "/out.ndjson"}, func(line []byte, out []*writer) {
		if intField(line, "status") < 300 {
			return
		}
		buf = cut(buf[:0], line, "agent")
		buf = append(buf[:len(buf)-1], `,"kind":"slow","kib":`...)
		buf = strconv.AppendFloat(buf, float64(intField(line, "bytes"))/1024.0, 'g', -1, 64)
		out[0].line(append(buf, '}'))
	})
}

// routeYAML sends events to one of three files.
func routeYAML(in, dir string) string {
	return fmt.Sprintf(`version: 1
name: route
sources: {in: {type: file, paths: [%q], codec: ndjson}}
stages:
  by_status: {type: route, cases: {server: 'status >= 500', client: 'status >= 400'}}
sinks:
  server: {type: file, path: %q, codec: ndjson}
  client: {type: file, path: %q, codec: ndjson}
  fine: {type: file, path: %q, codec: ndjson}
edges:
  - in -> by_status
  - by_status.server -> server
  - by_status.client -> client
  - by_status.else -> fine
`, in, dir+"/server.ndjson", dir+"/client.ndjson", dir+"/fine.ndjson")
}

func routeHand(in, dir string) error {
	files := []string{dir + "/server.ndjson", dir + "/client.ndjson", dir + "/fine.ndjson"}
	return each(in, files, func(line []byte, out []*writer) {
		switch status := intField(line, "status"); {
		case status >= 500:
			out[0].line(line)
		case status >= 400:
			out[1].line(line)
		default:
			out[2].line(line)
		}
	})
}

// value returns where the value of a top-level field begins and ends, by
// walking the object's members without decoding or checking them.
func value(line []byte, name string) (keyAt, from, to int) {
	for i := 1; i < len(line); {
		keyAt = i
		end := i + 1 + bytes.IndexByte(line[i+1:], '"')
		key := line[i+1 : end]
		from = end + 2
		to = skip(line, from)
		if string(key) == name {
			return keyAt, from, to
		}
		i = to + 1
	}
	return -1, -1, -1
}

// skip returns the end of the value that begins at i.
func skip(line []byte, i int) int {
	depth := 0
	for ; i < len(line); i++ {
		switch line[i] {
		case '"':
			for i++; line[i] != '"'; i++ {
				if line[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return i
}

func intField(line []byte, name string) int {
	_, from, to := value(line, name)
	if from < 0 {
		return 0
	}
	n := 0
	for _, c := range line[from:to] {
		n = n*10 + int(c-'0')
	}
	return n
}

// cut copies line without one member.
func cut(dst, line []byte, name string) []byte {
	at, _, to := value(line, name)
	if at < 0 {
		return append(dst, line...)
	}
	if line[to] == ',' {
		to++
	}
	return append(append(dst, line[:at]...), line[to:]...)
}
