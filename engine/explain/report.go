// Package explain says what limits a running pipeline: which node, why, who
// waits because of it, and what would limit it next. It works on figures that the
// engine counts anyway (how the workers of each node spent their time, how long
// somebody waited at each edge) and changes nothing.
//
// # How it decides
//
//  1. A worker is, at every moment, busy, idle, blocked, throttled or waiting for
//     the far side (external). Shares of a window of time add up to 1. What is
//     neither idle nor blocked is called active here.
//  2. From each source that waits for 10 % of the time or more it follows the edge
//     at which somebody waited longest, node by node, until nobody waits. Of the
//     nodes passed, the most active one limits; the last of them in case of doubt.
//  3. An edge that drops cuts that trail: whoever takes too little there loses
//     events instead of holding up a source. That is a limit of its own.
//  4. A source that waits for credit is held by what its window of unsettled
//     events waits for: the node before which they queue, or, if no node is active,
//     the window itself.
//  5. Nobody waits: the sources are the limit, unless a queue grows before a node
//     that is active all the time; it will be the limit when the queue is full.
//  6. A node could do rate / active. The next limit is the node that is reached
//     first when the flow of the sources that are held back grows.
package explain

import (
	"time"
)

// The causes of a Report and of a Bottleneck.
const (
	CauseBusy      = "busy"      // its workers work
	CauseExternal  = "external"  // its workers wait for the far side
	CauseThrottled = "throttled" // a rate limit, a retry's pause or a Retry-After holds it
	CauseWindow    = "window"    // the source has max_in_flight events unsettled and no node is at its limit
	CauseSource    = "source"    // the source reads all there is: nothing holds it back
	CauseIdle      = "idle"      // nothing to do: nothing is read and nothing is in flight
	CauseUnclear   = "unclear"   // somebody waits, but no node is at its limit for most of the time
	CauseStarting  = "starting"  // not enough figures yet
	CauseEnded     = "ended"     // the pipeline has ended
)

// The forms of a Bottleneck: how its limit shows.
const (
	FormPressure = "pressure" // a source waits because of it
	FormWindow   = "window"   // a source waits for credit, and no node is at its limit
	FormLoss     = "loss"     // an edge before it drops what it does not take
	FormBacklog  = "backlog"  // events queue up before it; no source waits yet
	FormSource   = "source"   // a source is the limit itself
)

// Report is what limits a pipeline during a window of time. Rates are events per
// second, shares are 0 to 1.
type Report struct {
	Pipeline      string    `json:"pipeline"`
	At            time.Time `json:"at,omitzero"` // the end of the window; zero if not known
	WindowSeconds float64   `json:"window_seconds"`

	// Limiting is the node that limits the pipeline most: the first of
	// Bottlenecks. It is empty when there is none.
	Limiting string `json:"limiting,omitempty"`
	// Cause is why, one of the constants above.
	Cause string `json:"cause"`
	// Sentences say it for people, the most important first. There is always one.
	Sentences []string `json:"sentences"`
	// Nodes are the figures of all nodes, in the order of the file, sources first.
	Nodes []NodeShare `json:"nodes"`
	// Blocks are the nodes that wait because of Limiting, nearest first.
	Blocks []string `json:"blocks"`
	// Bottlenecks are all limits that were found, the heaviest first: those that
	// hold up sources, those that lose events, those that will, the sources.
	Bottlenecks []Bottleneck `json:"bottlenecks"`
	// Next is what would limit the pipeline if Limiting were out of the way; nil
	// when that cannot be said.
	Next *Limit `json:"next,omitempty"`
}

// NodeShare is how the workers of a node spent their time, as shares that add up
// to 1, and what they did.
type NodeShare struct {
	Name      string  `json:"name"`
	Kind      string  `json:"kind"` // source, stage or sink
	Workers   int     `json:"workers"`
	Busy      float64 `json:"busy"`
	Idle      float64 `json:"idle"`
	Blocked   float64 `json:"blocked"`
	Throttled float64 `json:"throttled"`
	External  float64 `json:"external"`

	// Rate is how many events it took in, or read.
	Rate float64 `json:"rate"`
	// Capacity is how many events it could take if it never waited for others, as
	// far as the figures show; 0 when they do not.
	Capacity float64 `json:"capacity,omitempty"`
}

// Active is the share of time in which the node itself was the one that took it:
// neither idle nor blocked.
func (n NodeShare) Active() float64 { return n.Busy + n.Throttled + n.External }

// Bottleneck is one limit.
type Bottleneck struct {
	Node  string `json:"node"`
	Kind  string `json:"kind"`
	Cause string `json:"cause"`
	Form  string `json:"form"`
	// Edge is where it shows: at which producers wait, which drops, or which fills.
	Edge string `json:"edge,omitempty"`
	// Share is how heavy it is: the part of the time that a source waits, the part
	// of the events that are dropped, or the fill of the edge.
	Share float64 `json:"share"`
	// Sources are held back by it.
	Sources []string `json:"sources,omitempty"`
	// Blocks are the nodes that wait because of it, nearest first.
	Blocks []string `json:"blocks,omitempty"`
	// Holder is the node with most of the unsettled events (FormWindow).
	Holder string `json:"holder,omitempty"`
}

// Limit is what limits a pipeline once the present limit is out of the way.
type Limit struct {
	Node  string `json:"node"`
	Kind  string `json:"kind"`
	Cause string `json:"cause"`
	// SourceRate is how many events per second the sources that are held back now
	// (all, if none is) would read then.
	SourceRate float64 `json:"source_rate"`
	// Factor is how many times as many as now that are, 1 or more.
	Factor float64 `json:"factor"`
	// AtLeast says that it may be a lot more: no other node is busy enough for
	// its figures to tell.
	AtLeast bool `json:"at_least,omitempty"`
	// Sentence says it for people.
	Sentence string `json:"sentence"`
}
