// The last ten minutes: rates, latency and fill, drawn by uPlot.

import { html, useEffect, useLayoutEffect, useRef, useState, useWidth, useMedia } from './ui.js'
import uPlot from '../lib/uplot.mjs'
import * as f from './format.js'

const most = 6 // edges in the plot of fills

export function Plots({ view, history, selected }) {
  const h = history
  const sources = view.order.sources.map((n) => 'node/' + n + '/rate')
  const sinks = view.order.sinks
  const fills = fullest(view, h, selected)
  return html`<section class="plots" aria-label="The last ten minutes">
    <${Plot} title="Rates" unit="events/s" write=${f.rate} history=${h} lines=${[
      { name: 'read', colour: '--c1', values: h.total(sources) },
      { name: 'delivered', colour: '--c2', values: h.total(sinks.map((n) => 'node/' + n + '/out_rate')), dash: [6, 3] },
      { name: 'dropped', colour: '--c4', values: h.total(view.order.edges.map((e) => 'edge/' + e + '/dropped')), dash: [2, 3] },
    ]} />
    <${Plot} title="Latency, read to confirmed" unit=${sinks.length > 1 ? 'slowest sink' : ''} write=${f.seconds} history=${h} lines=${[
      { name: 'p50', colour: '--c2', values: h.largest(sinks.map((n) => 'sink/' + n + '/p50')), dash: [6, 3] },
      { name: 'p95', colour: '--c3', values: h.largest(sinks.map((n) => 'sink/' + n + '/p95')) },
    ]} />
    <${Plot} title="Fill" unit=${view.order.edges.length > most ? 'fullest edges' : ''} write=${f.percent} history=${h} top=${1} lines=${fills} />
  </section>`
}

// fullest picks the edges that were fullest, and the selected one.
function fullest(view, h, selected) {
  const peak = (id) => Math.max(0, ...h.get('edge/' + id + '/fill').filter((v) => !Number.isNaN(v)))
  const chosen = selected && selected.kind === 'edge' && selected.id
  const ids = view.order.edges.map((id) => ({ id, peak: id === chosen ? 2 : peak(id) }))
  ids.sort((a, b) => b.peak - a.peak)
  const shown = new Set(ids.slice(0, most).map((e) => e.id))
  const dashes = [undefined, [6, 3], [2, 3], [8, 3, 2, 3], [12, 4], [1, 4]]
  return view.order.edges.filter((id) => shown.has(id)).map((id, i) => ({
    name: f.arrow(id), colour: '--c' + (i + 1), dash: dashes[i], values: h.get('edge/' + id + '/fill'), heavy: id === chosen,
  }))
}

// EdgePlot is the course of one edge, for its panel.
export function EdgePlot({ id, history: h }) {
  return html`<${Plot} title="Last ten minutes" write=${f.rate} history=${h} height=${120} lines=${[
    { name: 'taken out', colour: '--c1', values: h.get('edge/' + id + '/rate') },
    { name: 'dropped', colour: '--c4', values: h.get('edge/' + id + '/dropped'), dash: [2, 3] },
  ]} />`
}

function Plot({ title, unit, lines, write, history, top, height = 150 }) {
  const box = useRef(null)
  const plot = useRef(null)
  const width = useWidth(box)
  const dark = useMedia('(prefers-color-scheme: dark)')
  const [at, setAt] = useState(null)
  const now = history.times.length - 1
  const shape = lines.map((l) => l.name + l.colour + l.heavy).join()
  const data = [history.times.map((t) => t / 1000), ...lines.map((l) => l.values.map((v) => (Number.isNaN(v) ? null : v)))]

  useLayoutEffect(() => {
    if (!width) return
    const u = new uPlot(options({ lines, width, height, write, top, last: () => history.last(), marks: () => history.marks, onAt: setAt }), data, box.current)
    plot.current = u
    return () => {
      plot.current = null
      u.destroy()
    }
  }, [width, dark, shape])
  useEffect(() => {
    if (plot.current) plot.current.setData(data)
  }, [history.last(), history.marks.length, shape])

  const index = at === null || at > now ? now : at
  const value = (l) => (index >= 0 && !Number.isNaN(l.values[index]) ? write(l.values[index]) : '–')
  const words = `${title}, now: ` + lines.map((l) => `${l.name} ${value(l)}`).join(', ')
  return html`<figure class="plot">
    <figcaption><span class="title">${title}</span> ${unit && html`<span class="quiet">${unit}</span>`}
      <span class="when quiet">${at !== null && index >= 0 ? f.clock(history.times[index]) : ''}</span></figcaption>
    <div class="area" ref=${box} role="img" aria-label=${words}></div>
    <ul class="legend">${lines.map((l) => html`<li key=${l.name}><svg width="18" height="8" aria-hidden="true">
      <line x1="0" y1="4" x2="18" y2="4" stroke-dasharray=${(l.dash || []).join(' ')} class=${'stroke' + l.colour.slice(3)} /></svg>
      ${l.name} <b>${value(l)}</b></li>`)}</ul>
  </figure>`
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim()

function options({ lines, width, height, write, top, last, marks, onAt }) {
  const axis = { stroke: colour('--quiet'), grid: { stroke: colour('--grid'), width: 1 }, ticks: { show: false }, font: '11px system-ui, sans-serif' }
  return {
    width, height, legend: { show: false }, padding: [8, 16, 0, 0],
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: {
      x: { range: () => [last() / 1000 - 600, last() / 1000] },
      y: { range: (_, low, high) => [0, top || nice(high)] },
    },
    axes: [
      { ...axis, size: 24, space: 70, values: (_, at) => at.map((s) => ago(last() / 1000 - s)), splits: minutes },
      { ...axis, size: 54, space: 27, values: (_, at) => at.map(write) },
    ],
    series: [{}, ...lines.map((l) => ({
      stroke: colour(l.colour), width: l.heavy ? 3 : 1.75, dash: l.dash, points: { show: false }, spanGaps: false,
    }))],
    hooks: {
      setCursor: [(u) => onAt(u.cursor.idx ?? null)],
      draw: [(u) => drawMarks(u, marks())],
    },
  }
}

// nice leaves some air above the highest value.
const nice = (high) => (high > 0 ? high * 1.15 : 1)

// minutes are the places of the labels: whole minutes before now.
function minutes(u, _, low, high) {
  const step = u.width < 300 ? 300 : u.width < 520 ? 120 : 60
  const at = []
  for (let s = high; s > low + 1; s -= step) at.unshift(s)
  return at
}

function ago(s) {
  const m = Math.round(s / 60)
  return m <= 0 ? 'now' : '−' + m + ' min'
}

// drawMarks draws a line where the configuration changed.
function drawMarks(u, marks) {
  const { ctx, bbox } = u
  ctx.save()
  ctx.strokeStyle = ctx.fillStyle = colour('--ink')
  ctx.lineWidth = devicePixelRatio
  ctx.font = 11 * devicePixelRatio + 'px system-ui, sans-serif'
  for (const m of marks) {
    if (m.at === 0) continue
    const x = Math.round(u.valToPos(m.at / 1000, 'x', true))
    if (x < bbox.left) continue
    ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio])
    ctx.beginPath()
    ctx.moveTo(x, bbox.top)
    ctx.lineTo(x, bbox.top + bbox.height)
    ctx.stroke()
    ctx.textAlign = x > bbox.left + bbox.width / 2 ? 'right' : 'left'
    ctx.fillText('#' + m.generation, x + (ctx.textAlign === 'right' ? -4 : 4) * devicePixelRatio, bbox.top + 10 * devicePixelRatio)
  }
  ctx.restore()
}
