//go:build race

package explain

// raced makes tests do less under the race detector.
const raced = true
