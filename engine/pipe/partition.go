package pipe

// Partition returns what the event is one of a sequence of: the file or the
// connection it was read from, as its source names it, and "" where a source has
// one sequence only. Together with Source it tells apart what must not be mixed.
func (e *Event) Partition() string {
	if e.group == nil {
		return ""
	}
	return e.group.partition
}
