//go:build race

package main

// raced says that times measured here mean little.
const raced = true
