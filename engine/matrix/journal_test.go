package matrix

import (
	"bytes"
	"fmt"
	"sync"
)

// most is how many events there are in a cell.
const most = 240

// filtered reports whether the pipeline leaves out event n.
func filtered(n int) bool { return n%10 == 9 }

// journal is what far sides have taken, in the order in which they did.
type journal struct {
	mu        sync.Mutex // guards what follows
	arrived   []arrival
	taken     [most]bool    // by anyone, in any run
	confirmed map[int]int64 // events by run, at a far side that told its sender
	strange   []string      // what is no event
}

// arrival is one event that came to a far side. run is who sent it, from 0: when it
// comes, another run may have begun.
type arrival struct {
	run, n int
	dead   bool
}

// take notes one event.
func (j *journal) take(run, n int, dead bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if n < 0 || n >= most {
		j.strange = append(j.strange, fmt.Sprint(n))
		return
	}
	j.arrived = append(j.arrived, arrival{run, n, dead})
	j.taken[n] = true
}

// takeLines notes the events of a body, those that are whole, and returns how many.
func (j *journal) takeLines(run int, body []byte) (n int64) {
	for line := range bytes.Lines(body) {
		if !bytes.HasSuffix(line, []byte("}\n")) {
			continue
		}
		j.take(run, number(line), false)
		n++
	}
	return n
}

func (j *journal) confirm(run int, n int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.confirmed == nil {
		j.confirmed = map[int]int64{}
	}
	j.confirmed[run] += n
}

// has reports whether event n was taken by anyone.
func (j *journal) has(n int) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.taken[n]
}

// number reads the n of {"n":12,...}; -1 when there is none.
func number(text []byte) int {
	n := -1
	_, after, _ := bytes.Cut(text, []byte(`"n":`))
	fmt.Sscan(string(after[:min(6, len(after))]), &n)
	return n
}

// event is the text of event n. All are of one length.
func event(n int) string {
	return fmt.Sprintf(`{"n":%d,"pad":"%0*d"}`, n, 30-len(fmt.Sprint(n)), 0)
}
