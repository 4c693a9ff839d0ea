//go:build race

package engine

// raced says that times measured here mean little.
const raced = true
