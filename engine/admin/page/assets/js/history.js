// The last ten minutes, for the plots: what the server remembers, a sample a
// second, merged with what came before.

const span = 600_000 // ms

export class History {
  constructor() {
    this.reset()
  }

  reset() {
    this.times = [] // unix ms
    this.series = new Map() // name: values, as long as times, NaN where unknown
    this.marks = [] // {at, generation}: when the configuration changed
  }

  last() {
    return this.times[this.times.length - 1] || 0
  }

  // mark notes a generation that the page has seen come into force.
  mark(status) {
    const first = this.marks.length === 0 // nobody saw when it came into force
    this.marks.push({ at: first ? 0 : this.last(), generation: status.generation })
  }

  // add appends an explain.History.
  add(h) {
    const times = h.times || []
    let skip = 0
    while (skip < times.length && times[skip] <= this.last()) skip++
    const fresh = times.slice(skip)
    if (fresh.length === 0) return
    const given = flatten(h)
    for (const name of given.keys()) {
      if (!this.series.has(name)) this.series.set(name, new Array(this.times.length).fill(NaN))
    }
    for (const [name, values] of this.series) {
      const v = given.get(name) || []
      const shift = times.length - v.length // a series that began later is shorter
      const read = name.startsWith('sink/') ? latency : number
      for (let i = skip; i < times.length; i++) values.push(read(v[i - shift]))
    }
    this.times.push(...fresh)
    this.trim()
  }

  trim() {
    const from = this.last() - span
    let n = 0
    while (this.times[n] < from) n++
    if (n === 0) return
    this.times.splice(0, n)
    for (const values of this.series.values()) values.splice(0, n)
    this.marks = this.marks.filter((m) => m.at === 0 || m.at >= from)
  }

  get(name) {
    return this.series.get(name) || new Array(this.times.length).fill(NaN)
  }

  // total adds series up, moment by moment; largest takes the greatest.
  total(names) {
    return this.fold(names, (a, b) => a + b)
  }

  largest(names) {
    return this.fold(names, Math.max)
  }

  fold(names, f) {
    const all = names.map((n) => this.get(n))
    return this.times.map((_, i) => {
      let v = NaN
      for (const s of all) if (!Number.isNaN(s[i])) v = Number.isNaN(v) ? s[i] : f(v, s[i])
      return v
    })
  }
}

const latency = (v) => (v > 0 ? v : NaN) // 0: nothing was delivered
const number = (v) => (typeof v === 'number' && v >= 0 ? v : NaN)

// flatten names every series: edge/ID/fill, node/NAME/rate, sink/NAME/p95.
function flatten(h) {
  const all = new Map()
  const take = (kind, group) => {
    for (const [name, series] of Object.entries(group || {})) {
      for (const [key, values] of Object.entries(series)) {
        if (Array.isArray(values)) all.set(kind + '/' + name + '/' + key, values)
      }
    }
  }
  take('edge', h.edges)
  take('node', h.nodes)
  take('sink', h.latency)
  return all
}
