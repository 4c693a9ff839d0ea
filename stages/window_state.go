package stages

import (
	"maps"
	"slices"
	"time"

	"github.com/pipectl/pipectl/engine/pipe"
	"github.com/pipectl/pipectl/engine/record"
)

// windows are the windows of a stage that are not over.
type windows struct {
	stage  *Window
	open   map[int64]*openWindow // by their start
	passed int64                 // windows that end up to here are over
	next   int64                 // the end of the first window that is open
	keys   int                   // in all open windows
	events int                   // held
}

// openWindow is a window into which events still go.
type openWindow struct {
	start   int64
	keys    map[string]*openKey
	order   []*openKey
	partial bool // a result of it was handed on before its end
}

// openKey is what becomes a result.
type openKey struct {
	values []record.Value // of by
	cells  []cell
	held   []*pipe.Event
}

// add puts e, whose key and columns have been evaluated, into its windows. It is
// false when all of them are over.
func (s *windows) add(e *pipe.Event, at int64, out *pipe.Out) bool {
	size, slide := int64(s.stage.Size), int64(s.stage.slide())
	newest := floorTo(at, slide)
	oldest := newest - size + slide
	for oldest <= newest && oldest+size <= s.passed {
		oldest += slide
	}
	if oldest > newest {
		return false
	}
	if n := int((newest-oldest)/slide) + 1; s.keys+n > s.stage.MaxKeys || s.events+n > s.stage.Capacity() {
		s.makeRoom(oldest, newest, out)
	}
	mine := e
	for start := oldest; start <= newest; start += slide {
		k := s.key(start)
		for i := range k.cells {
			k.cells[i].add(s.stage.rows[i], at, s.stage.plan.columns[i])
		}
		if s.stage.Settle == settleArrival && len(k.held) > 0 {
			continue
		}
		if mine == nil {
			mine = out.Copy(e)
		}
		s.hold(k, mine, out)
		mine = nil
	}
	if mine != nil { // in none of the results
		out.Filter(e)
	}
	return true
}

func (s *windows) hold(k *openKey, e *pipe.Event, out *pipe.Out) {
	out.Hold(e)
	e.Body = record.Body{} // it is counted; let go of the read buffer
	k.held = append(k.held, e)
	s.events++
}

// key returns the present key of the window that begins at start.
func (s *windows) key(start int64) *openKey {
	w := s.open[start]
	if w == nil {
		w = &openWindow{start: start, keys: map[string]*openKey{}}
		s.open[start] = w
		s.next = min(s.next, start+int64(s.stage.Size))
	}
	k := w.keys[string(s.stage.key)]
	if k == nil {
		k = &openKey{values: make([]record.Value, len(s.stage.values)), cells: s.stage.plan.newCells()}
		for i, v := range s.stage.values {
			k.values[i] = detached(v)
		}
		w.keys[string(s.stage.key)] = k
		w.order = append(w.order, k)
		s.keys++
	}
	return k
}

// detached returns v in memory of its own.
func detached(v record.Value) record.Value { return record.RawJSON(v.AppendJSON(nil)) }

// makeRoom hands on the oldest windows before their time until there is room for
// an event in those from oldest to newest.
func (s *windows) makeRoom(oldest, newest int64, out *pipe.Out) {
	for {
		keys, events := s.needs(oldest, newest)
		if s.keys == 0 || s.keys+keys <= s.stage.MaxKeys && s.events+events <= s.stage.Capacity() {
			return
		}
		var first *openWindow
		for _, w := range s.open {
			if len(w.order) > 0 && (first == nil || w.start < first.start) {
				first = w
			}
		}
		first.partial = true
		s.emit(first, out)
	}
}

// needs returns how many keys and held events come with the present event.
func (s *windows) needs(oldest, newest int64) (keys, events int) {
	for start := oldest; start <= newest; start += int64(s.stage.slide()) {
		if w := s.open[start]; w == nil || w.keys[string(s.stage.key)] == nil {
			keys++
		}
		events++
	}
	if s.stage.Settle == settleArrival {
		events = keys
	}
	return keys, events
}

// pass hands on the windows that end up to a time.
func (s *windows) pass(t int64, out *pipe.Out) {
	s.passed = max(s.passed, t)
	if s.passed < s.next {
		return
	}
	size := int64(s.stage.Size)
	s.next = maxTime
	for _, start := range slices.Sorted(maps.Keys(s.open)) {
		if start+size > s.passed {
			s.next = start + size
			break
		}
		s.emit(s.open[start], out)
		delete(s.open, start)
	}
}

// last returns the end of the last open window.
func (s *windows) last() int64 {
	end := int64(minTime)
	for start := range s.open {
		end = max(end, start+int64(s.stage.Size))
	}
	return end
}

// flush hands on all windows as they are.
func (s *windows) flush(out *pipe.Out) {
	for _, start := range slices.Sorted(maps.Keys(s.open)) {
		w := s.open[start]
		w.partial = true
		s.emit(w, out)
	}
}

// emit hands on the results of a window and empties it.
func (s *windows) emit(w *openWindow, out *pipe.Out) {
	for _, k := range w.order {
		s.events -= len(k.held)
		out.Merge(k.held, s.result(w, k, &out.Arena))
	}
	s.keys -= len(w.order)
	w.order = nil
	clear(w.keys)
}

func (s *windows) result(w *openWindow, k *openKey, a *record.Arena) record.Body {
	st := s.stage
	b := record.NewObject(a, 3+len(st.By)+len(st.Compute))
	b.Add(a, "window_start", timeText(w.start, a))
	b.Add(a, "window_end", timeText(w.start+int64(st.Size), a))
	for i, v := range k.values {
		b.Add(a, st.By[i].Key, v)
	}
	for i, c := range st.Compute {
		b.Add(a, c.Key, st.plan.result(i, c.Value, k.cells, a))
	}
	if w.partial {
		b.Add(a, "partial", record.Bool(true))
	}
	return b
}

func timeText(t int64, a *record.Arena) record.Value {
	var scratch [40]byte
	return record.Text(a.Copy(time.Unix(0, t).UTC().AppendFormat(scratch[:0], time.RFC3339Nano)))
}
