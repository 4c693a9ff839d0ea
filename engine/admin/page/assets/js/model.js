// What the page shows, worked out of successive statuses: counts become rates,
// sums of time become shares. Rates are means over the last seconds.

const window = 3 // s, of rates and shares
const latencyWindow = 15 // s, of quantiles: they need more events

export class Model {
  constructor() {
    this.reset()
  }

  reset() {
    this.seen = []
  }

  // see takes in a status and returns the view of this moment.
  see(status, why) {
    const seen = this.seen
    if (seen.length && seen[seen.length - 1].generation !== status.generation) {
      this.seen = seen.slice(-1) // what was before a change says nothing about now
    }
    this.seen.push(status)
    while (this.seen.length > 2 && status.seconds - this.seen[1].seconds >= latencyWindow) this.seen.shift()
    return view(this.ago(window), this.ago(latencyWindow), status, why)
  }

  // ago returns the status from about that many seconds before the last one.
  ago(seconds) {
    const last = this.seen[this.seen.length - 1]
    return this.seen.find((s) => last.seconds - s.seconds <= seconds + 0.5) || last
  }
}

function view(then, earlier, now, why) {
  const dt = now.seconds - then.seconds
  const order = orderOf(now)
  const nodes = {}
  const each = (kind, names, all, before) => {
    for (const name of names) nodes[name] = node(kind, name, all[name], before[name], dt)
  }
  each('source', order.sources, now.sources, then.sources)
  each('stage', order.stages, now.stages, then.stages)
  each('sink', order.sinks, now.sinks, then.sinks)
  for (const name of order.sinks) addLatency(nodes[name], now.sinks[name], earlier.sinks[name])
  const edges = {}
  for (const id of order.edges) edges[id] = edge(id, now.edges[id], then.edges[id], dt)
  const limiting = why ? why.limiting : ''
  if (nodes[limiting]) nodes[limiting].limiting = why.cause
  return { order, nodes, edges, limiting, totals: totals(now, then, nodes, edges, dt) }
}

// orderOf returns the names in the order of the file, as far as the server
// tells it.
function orderOf(s) {
  const of = (kind) => (s.order && s.order[kind]) || Object.keys(s[kind]).sort()
  return { sources: of('sources'), stages: of('stages'), sinks: of('sinks'), edges: of('edges') }
}

const rise = (now, then, key, dt) => (then && dt > 0 ? Math.max(0, (now[key] || 0) - (then[key] || 0)) / dt : 0)
const sum = (counts) => Object.values(counts || {}).reduce((a, b) => a + b, 0)
const progress = { source: 'read', stage: 'in', sink: 'delivered' }

function node(kind, name, now, then, dt) {
  return {
    kind, name, raw: now, type: now.type, workers: now.workers || 0,
    rate: rise(now, then, progress[kind], dt),
    out: kind === 'stage' ? rise(now, then, 'out', dt) : 0,
    failing: now.failing || false,
    failedRate: rise(now, then, 'failed', dt),
    errors: sum(now.errors),
    ...shares(now.time, then && then.time),
  }
}

// states of a worker, in the order in which they are drawn.
export const states = ['busy', 'external', 'throttled', 'blocked', 'idle']

function shares(now, then) {
  const spent = {}
  let all = 0
  for (const s of states) {
    spent[s] = Math.max(0, ((now && now[s]) || 0) - ((then && then[s]) || 0))
    all += spent[s]
  }
  if (!then || all <= 0) return { shares: null, mostly: '' }
  for (const s of states) spent[s] /= all
  return { shares: spent, mostly: states.reduce((a, b) => (spent[b] > spent[a] ? b : a)) }
}

function addLatency(n, now, then) {
  const recent = since(now.end_to_end, then && then.end_to_end)
  n.p50 = quantile(recent, 0.5)
  n.p95 = quantile(recent, 0.95)
  n.p99 = quantile(recent, 0.99)
}

// since returns the observations of a histogram that are not in an earlier one.
function since(now, then) {
  if (!now || !now.bounds) return null
  const old = (then && then.counts) || []
  const counts = now.counts.map((n, i) => n - (old[i] || 0))
  return { bounds: now.bounds, counts, count: counts.reduce((a, b) => a + b, 0) }
}

// quantile estimates a quantile in seconds, NaN without observations.
function quantile(h, q) {
  if (!h || h.count === 0) return NaN
  const rank = q * h.count
  let below = 0
  for (let i = 0; i < h.bounds.length; i++) {
    const n = h.counts[i]
    if (n > 0 && below + n >= rank) {
      const low = i ? h.bounds[i - 1] : 0
      return low + ((h.bounds[i] - low) * (rank - below)) / n
    }
    below += n
  }
  return h.bounds[h.bounds.length - 1]
}

function edge(id, now, then, dt) {
  const dropped = sum(now.dropped)
  const e = {
    id, raw: now, from: now.from, port: now.port || '', to: now.to, policy: now.policy,
    fill: Math.min(1, now.utilization || 0),
    rate: rise(now, then, 'delivered', dt),
    offered: rise(now, then, 'offered', dt),
    dropped,
    dropRate: then && dt > 0 ? Math.max(0, dropped - sum(then.dropped)) / dt : 0,
    blocked: Math.min(1, rise(now, then, 'pressed_seconds', dt)),
    waiting: now.blocked_producers || 0,
  }
  e.state = stateOf(e, dt > 0)
  return e
}

const pressed = 0.1 // of the time: from here on an edge counts as blocked
const nearlyFull = 0.8

function stateOf(e, measured) {
  if (measured ? e.blocked >= pressed : e.waiting > 0) return 'blocked'
  if (e.dropRate > 0) return 'dropping'
  if (e.fill >= nearlyFull) return 'full'
  if (e.rate < 0.05 && e.raw.queued === 0) return 'idle'
  return 'flowing'
}

// severity orders edges from the one to look at first.
export function severity(e) {
  return (e.state === 'blocked' ? 4 + e.blocked : 0) + (e.dropRate > 0 ? 2 : 0) + e.fill + Math.min(1, e.rate / 1e9)
}

// inWords says the state of an edge in words; it is the accessible name.
export function inWords(e, f) {
  const parts = [`${f.percent(e.fill)} full`, f.rate(e.rate)]
  if (e.state === 'blocked') parts.unshift(`blocked ${f.percent(e.blocked)} of the time`)
  if (e.dropRate > 0) parts.unshift(`drops ${f.rate(e.dropRate)}`)
  if (e.raw.tripped) parts.push('tripped')
  return parts.join(', ')
}

function totals(now, then, nodes, edges, dt) {
  const t = { read: 0, delivered: 0, dropRate: 0, failedRate: 0, p95: NaN, slowest: '' }
  for (const n of Object.values(nodes)) {
    if (n.kind === 'source') t.read += n.rate
    if (n.kind === 'sink') t.delivered += n.rate
    t.failedRate += n.failedRate
    if (n.p95 > t.p95 || (Number.isNaN(t.p95) && n.p95 >= 0)) [t.p95, t.slowest] = [n.p95, n.name]
  }
  for (const e of Object.values(edges)) t.dropRate += e.dropRate
  t.dropped = now.balance.dropped
  t.inFlight = now.balance.in_flight
  t.error = now.balance.error
  t.failed = now.balance.failed
  t.measured = dt > 0
  return t
}
