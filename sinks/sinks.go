// Package sinks holds the sinks, one per file. A sink confirms events by
// returning nil from Write; what that promises is said first in its comment.
package sinks

// flushSize is how many encoded bytes a sink collects before it hands them to
// the system: large enough for few calls, small beside the largest batch.
const flushSize = 1 << 20

// keepBuffer is the largest buffer that is kept for the next batch, in bytes.
const keepBuffer = 4 << 20

// reuse empties buf for the next batch, unless one huge batch has blown it up.
func reuse(buf []byte) []byte {
	if cap(buf) > keepBuffer {
		return nil
	}
	return buf[:0]
}
