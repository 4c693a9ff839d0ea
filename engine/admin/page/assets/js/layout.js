// Where nodes and pipes are drawn: dagre places them in layers, and each pipe is
// a smooth line through the places it gives, straight beside its label.

import { Graph, layout as place } from '../lib/dagre.mjs'

// sizes in px. A label stands above and below a pipe that lies, and right of one
// that stands, where it reaches over the right side.
const sizes = {
  LR: { node: { width: 156, height: 106 }, label: { width: 128, height: 82 }, ranksep: 48, nodesep: 22, over: 0 },
  TB: { node: { width: 156, height: 106 }, label: { width: 130, height: 74 }, ranksep: 22, nodesep: 22, over: 56 },
}
const lane = 22 // between pipes at one side of a node
const margin = 22
const ramp = 16 // px of a label's length in which a pipe may bend still

// topology names everything that a layout depends on.
export function topology(view, dir) {
  return dir + '|' + Object.keys(view.nodes) + '|' + view.order.edges.map((id) => view.edges[id].from + '>' + view.edges[id].to + ':' + id)
}

// arrange returns places of nodes {x, y, w, h}, pipes and the size of all.
export function arrange(view, dir) {
  const size = sizes[dir]
  const ends = sides(view)
  const g = new Graph({ multigraph: true })
  g.setGraph({ rankdir: dir, ranksep: size.ranksep, nodesep: size.nodesep, edgesep: 18, marginx: margin, marginy: margin })
  g.setDefaultEdgeLabel(() => ({}))
  for (const name of Object.keys(view.nodes)) {
    const pipes = Math.max(ends.out[name].length, ends.in[name].length)
    const { width, height } = size.node
    g.setNode(name, dir === 'LR' ? { width, height: Math.max(height, pipes * lane + 24) } : { width: Math.max(width, pipes * lane + 24), height })
  }
  for (const id of view.order.edges) {
    const e = view.edges[id]
    g.setEdge(e.from, e.to, { ...size.label, labelpos: 'c' }, id)
  }
  place(g)
  return measure(view, dir, g, ends, size)
}

function sides(view) {
  const ends = { in: {}, out: {} }
  for (const name of Object.keys(view.nodes)) [ends.in[name], ends.out[name]] = [[], []]
  for (const id of view.order.edges) {
    ends.out[view.edges[id].from].push(id)
    ends.in[view.edges[id].to].push(id)
  }
  return ends
}

function measure(view, dir, g, ends, size) {
  const nodes = {}
  for (const name of g.nodes()) {
    const n = g.node(name)
    nodes[name] = { x: n.x - n.width / 2, y: n.y - n.height / 2, w: n.width, h: n.height }
  }
  const edges = {}
  for (const id of view.order.edges) {
    const e = view.edges[id]
    const placed = g.edge(e.from, e.to, id)
    edges[id] = { label: { x: placed.x, y: placed.y }, inner: placed.points.slice(1, -1) }
  }
  const across = dir === 'LR' ? 'y' : 'x'
  for (const name of g.nodes()) {
    spread(ends.out[name], edges, nodes[name], dir, across, 'start')
    spread(ends.in[name], edges, nodes[name], dir, across, 'end')
  }
  for (const id of view.order.edges) edges[id] = pipe(edges[id], dir, size)
  const whole = g.graph()
  return { nodes, edges, width: Math.ceil(whole.width) + size.over, height: Math.ceil(whole.height), dir }
}

// spread gives the pipes at one side of a node a lane each, in the order of
// where they go.
function spread(ids, edges, n, dir, across, end) {
  const sorted = [...ids].sort((a, b) => edges[a].label[across] - edges[b].label[across])
  sorted.forEach((id, i) => {
    const off = (i - (sorted.length - 1) / 2) * lane
    const lead = end === 'start' ? 1 : 0
    edges[id][end] = dir === 'LR'
      ? { x: n.x + lead * n.w, y: n.y + n.h / 2 + off }
      : { x: n.x + n.w / 2 + off, y: n.y + lead * n.h }
  })
}

// pipe makes the lines of one pipe: d from its producer, back from its consumer.
function pipe(e, dir, size) {
  const along = dir === 'LR' ? 'x' : 'y'
  const half = (dir === 'LR' ? size.label.width : size.label.height) / 2 - ramp
  const points = [e.start]
  for (const p of through(e, along, half)) points.push(p)
  points.push(e.end)
  const d = line(points, along)
  const back = line(points.reverse(), along)
  return { d, back, label: e.label, start: e.start, end: e.end }
}

// through returns the places between the ends, in order along the flow. The pipe
// is straight for the length of its label.
function through(e, along, half) {
  const { label } = e
  const before = { ...label, [along]: label[along] - half }
  const after = { ...label, [along]: label[along] + half }
  const points = e.inner.filter((p) => p[along] < before[along] - 1 || p[along] > after[along] + 1)
  points.push(before, after)
  return points
    .filter((p) => p[along] > e.start[along] + 1 && p[along] < e.end[along] - 1)
    .sort((a, b) => a[along] - b[along])
}

const at = (p) => p.x.toFixed(1) + ' ' + p.y.toFixed(1)

// line joins points with curves that leave and arrive along the flow.
function line(points, along) {
  let d = 'M' + at(points[0])
  for (let i = 1; i < points.length; i++) {
    const [a, b] = [points[i - 1], points[i]]
    const across = along === 'x' ? 'y' : 'x'
    if (Math.abs(a[across] - b[across]) < 0.5) {
      d += 'L' + at(b)
      continue
    }
    const mid = (a[along] + b[along]) / 2
    d += 'C' + at({ ...a, [along]: mid }) + ' ' + at({ ...b, [along]: mid }) + ' ' + at(b)
  }
  return d
}
