//go:build race

package edge

// raced says that the race detector is on, which makes everything ten times
// slower. Tests that have one goroutine then run a small part of themselves.
const raced = true
