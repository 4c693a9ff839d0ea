package explain

import "github.com/pipectl/pipectl/engine"

// Why says what limited a pipeline between two of its statuses, a before b. It is
// a pure function. A second or more should lie between them; ten give steadier
// figures.
func Why(a, b engine.Status) Report {
	return judge(&b, between(&a, &b), a.Generation != b.Generation && a.Seconds > 0)
}
