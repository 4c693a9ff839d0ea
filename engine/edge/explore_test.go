package edge

// steps are the states that can follow one: must has what some goroutine will do
// if it is only given the time; may has what could happen besides, such as a
// cancelled context, a timer or a reload.
type steps[S any] struct{ must, may []S }

// explore visits every state reachable from start. It returns how many there
// are, and what is wrong with one of them, if anything: check's complaint, or
// that the end cannot be reached by what must happen alone.
func explore[S comparable](start S, next func(S) steps[S], check func(S) string, final func(S) bool) (int, string) {
	index := map[S]int32{start: 0}
	list := []S{start}
	var before [][]int32 // by state: from where it is reached by a step that must happen
	before = append(before, nil)
	visit := func(s S) int32 {
		i, known := index[s]
		if !known {
			i = int32(len(list))
			index[s] = i
			list, before = append(list, s), append(before, nil)
		}
		return i
	}
	var ends []int32
	for i := int32(0); int(i) < len(list); i++ {
		s := list[i]
		if fault := check(s); fault != "" {
			return len(list), fault
		}
		n := next(s)
		switch {
		case final(s):
			ends = append(ends, i)
		case len(n.must) == 0:
			return len(list), "deadlock"
		}
		for _, t := range n.must {
			j := visit(t)
			before[j] = append(before[j], i)
		}
		for _, t := range n.may {
			visit(t)
		}
	}
	reaches := make([]bool, len(list))
	for len(ends) > 0 {
		i := ends[len(ends)-1]
		ends = ends[:len(ends)-1]
		if !reaches[i] {
			reaches[i] = true
			ends = append(ends, before[i]...)
		}
	}
	for _, ok := range reaches {
		if !ok {
			return len(list), "livelock"
		}
	}
	return len(list), ""
}
