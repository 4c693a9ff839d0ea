// The pipeline as a drawing: nodes, and edges as pipes that fill from the end
// where events pile up. One item is in the tab order; arrow keys go along the
// pipes.

import { html, useMemo, useRef, useState, useEffect, useWidth, useMedia } from './ui.js'
import { select } from './store.js'
import { arrange, topology } from './layout.js'
import { inWords } from './model.js'
import { Pipe } from './pipe.js'
import { Node, calm } from './node.js'
import * as f from './format.js'

const smallest = { LR: 0.6, TB: 0.66 } // the scales below which the graph scrolls instead
const far = 0.5 // the scale below which only names are drawn
const busyDrawing = 60 // edges; with more of them nothing moves

export function Graph({ view, selected }) {
  const box = useRef(null)
  const width = useWidth(box)
  const narrow = useMedia('(max-width: 640px)')
  const [zoom, setZoom] = useState(0) // 0: as large as fits
  const dir = narrow ? 'TB' : 'LR'
  const places = useMemo(() => arrange(view, dir), [topology(view, dir)])
  const fit = width ? Math.min(1.2, width / places.width) : 1
  const scale = zoom || Math.max(smallest[dir], fit)
  const [at, setAt] = useState('')
  const items = [...Object.keys(view.nodes).map((n) => 'node:' + n), ...view.order.edges.map((id) => 'edge:' + id)]
  const current = items.includes(at) ? at : items[0]

  const chosen = selected && selected.kind + ':' + selected.id
  useEffect(() => reveal(box.current, chosen || 'node:' + (view.limiting || Object.keys(view.nodes)[0])), [chosen, width > 0, zoom])

  const onKey = (event) => {
    const next = step(view, places, current, event.key)
    if (!next) return
    event.preventDefault()
    setAt(next)
    const target = find(box.current, next)
    target.focus()
    reveal(box.current, next)
  }
  const item = (key, label) => ({
    'data-item': key, role: 'button', tabindex: key === current ? 0 : -1, 'aria-label': label, 'aria-pressed': key === chosen ? 'true' : 'false',
    onFocus: () => setAt(key),
    onClick: () => open(key),
    onKeyDown: (event) => (event.key === 'Enter' || event.key === ' ') && (event.preventDefault(), open(key)),
  })
  const moves = view.order.edges.length <= busyDrawing
  const classes = ['graph', dir === 'TB' && 'standing', moves && 'moves', scale < far && 'far'].filter(Boolean).join(' ')
  return html`
 
    <div class="stage">
      <${Zoom} scale=${scale} whole=${() => Math.min(fit, box.current.clientHeight / places.height)} zoom=${zoom} set=${setZoom} />
      <div class="canvas" ref=${box} onKeyDown=${onKey}>
        <svg class=${classes} role="group" aria-label="Graph of the pipeline. Arrow keys go along the pipes, Enter opens one."
          width=${places.width * scale} height=${places.height * scale} viewBox="0 0 ${places.width} ${places.height}">
          ${view.order.edges.map((id) => {
            const e = view.edges[id]
            return html`<${Pipe} key=${'e' + id} e=${e} place=${places.edges[id]} dir=${dir}
              attrs=${item('edge:' + id, `Edge ${e.from} to ${e.to}, ${e.policy}: ${inWords(e, f)}`)} />`
          })}
          ${Object.values(view.nodes).map((n) => html`<${Node} key=${'n' + n.name} n=${n} place=${places.nodes[n.name]}
            attrs=${item('node:' + n.name, nodeLabel(n))} />`)}
        </svg>
      </div>
    </div>`
}

function open(key) {
  const cut = key.indexOf(':')
  select(key.slice(0, cut), key.slice(cut + 1))
}

function nodeLabel(n) {
  const parts = [`${n.kind} ${n.name}, ${n.type}: ${f.rate(n.rate)}`]
  if (n.shares) parts.push(`${n.mostly} ${f.percent(n.shares[n.mostly])} of the time`)
  if (n.limiting) parts.push(calm.includes(n.limiting) ? 'sets the pace' : 'limits the pipeline')
  return parts.join(', ')
}

const find = (box, key) => box.querySelector(`[data-item="${CSS.escape(key)}"]`)

// reveal scrolls the graph, and only the graph, until the item shows.
function reveal(box, key) {
  const target = key && find(box, key)
  if (!target) return
  const outer = box.getBoundingClientRect()
  const r = target.getBoundingClientRect()
  const edge = 24
  if (r.left < outer.left + edge) box.scrollLeft -= outer.left + edge - r.left
  else if (r.right > outer.right - edge) box.scrollLeft += r.right - outer.right + edge
  if (r.top < outer.top + edge) box.scrollTop -= outer.top + edge - r.top
  else if (r.bottom > outer.bottom - edge) box.scrollTop += r.bottom - outer.bottom + edge
}

// step returns the item that an arrow key leads to, or nothing.
function step(view, places, key, pressed) {
  const lie = places.dir === 'LR'
  const keys = lie ? ['ArrowRight', 'ArrowLeft', 'ArrowDown', 'ArrowUp'] : ['ArrowDown', 'ArrowUp', 'ArrowRight', 'ArrowLeft']
  const way = ['on', 'back', 'next', 'previous'][keys.indexOf(pressed)]
  if (!way) return null
  const cut = key.indexOf(':')
  const [kind, id] = [key.slice(0, cut), key.slice(cut + 1)]
  if (kind === 'edge' && way === 'on') return 'node:' + view.edges[id].to
  if (kind === 'edge' && way === 'back') return 'node:' + view.edges[id].from
  if (kind === 'node' && (way === 'on' || way === 'back')) {
    const [end, along] = way === 'on' ? ['from', 'start'] : ['to', 'end']
    const across = lie ? 'y' : 'x'
    const ids = view.order.edges.filter((e) => view.edges[e][end] === id)
    ids.sort((a, b) => places.edges[a][along][across] - places.edges[b][along][across])
    return ids.length ? 'edge:' + ids[0] : null
  }
  return beside(view, places, kind, id, way === 'next' ? 1 : -1, lie)
}

// beside returns the nearest item of the same kind across the flow.
function beside(view, places, kind, id, sign, lie) {
  const [along, across] = lie ? ['x', 'y'] : ['y', 'x']
  const where = kind === 'edge' ? (i) => places.edges[i].label : (i) => places.nodes[i]
  const here = where(id)
  let best = null
  for (const other of kind === 'edge' ? view.order.edges : Object.keys(view.nodes)) {
    const there = where(other)
    const off = (there[across] - here[across]) * sign
    if (other === id || off <= 1) continue
    const cost = off + Math.abs(there[along] - here[along]) * 2
    if (!best || cost < best.cost) best = { cost, key: kind + ':' + other }
  }
  return best && best.key
}

// Patterns are what drawings refer to; they are in the page once.
export function Patterns() {
  return html`<svg class="patterns" width="0" height="0" aria-hidden="true"><defs>
    <pattern id="hatch" width="10" height="10" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
      <rect width="4.500" height="10" class="hatch" />
    </pattern>
  </defs></svg>`
}

function Zoom({ scale, whole, zoom, set }) {
  const to = (s) => set(Math.min(2, Math.max(0.1, s)))
  return html`<div class="zoom" role="group" aria-label="Size of the graph">
    <button type="button" onClick=${() => to(scale / 1.25)} aria-label="Smaller" title="Smaller">−</button>
    <button type="button" onClick=${() => (zoom ? set(0) : to(whole()))} title=${zoom ? 'As large as fits' : 'Show the whole graph'}>${zoom ? Math.round(scale * 100) + ' %' : 'Fit'}</button>
    <button type="button" onClick=${() => to(scale * 1.25)} aria-label="Larger" title="Larger">+</button>
  </div>`
}
