// The panel beside the graph: everything about one edge or one node.

import { html, useEffect, useRef } from './ui.js'
import { select, store } from './store.js'
import { states } from './model.js'
import { State, Fill } from './list.js'
import { EdgePlot } from './plots.js'
import { Settings } from './settings.js'
import { Receipt } from './receipt.js'
import { Tap } from './tap.js'
import { calm, causes } from './node.js'
import * as f from './format.js'

export function Panel({ state }) {
  const { selected, view } = state
  const heading = useRef(null)
  const key = selected.kind + ':' + selected.id
  useEffect(() => heading.current && heading.current.focus({ preventScroll: true }), [key])
  const thing = selected.kind === 'edge' ? view.edges[selected.id] : view.nodes[selected.id]
  return html`
    <aside class="panel" aria-labelledby="panel-title" onKeyDown=${(ev) => ev.key === 'Escape' && close()}>
      <header>
        <div>
          <p class="quiet">${selected.kind === 'edge' ? 'Edge' : thing ? thing.kind : 'Node'}</p>
          <h2 id="panel-title" tabindex="-1" ref=${heading}>${f.arrow(selected.id)}</h2>
        </div>
        <button type="button" class="close" onClick=${close} aria-label="Close the panel">×</button>
      </header>
      ${!thing && html`<p class="empty">It is no longer part of the pipeline.</p>`}
      ${thing && selected.kind === 'edge' && html`<${Edge} key=${key} e=${thing} state=${state} />`}
      ${thing && selected.kind === 'node' && html`<${NodePanel} key=${key} n=${thing} view=${view} />`}
    </aside>`
}

// close goes back to where the panel was opened from.
function close() {
  const { selected } = store.state
  select(null)
  const from = selected && document.querySelector(`[data-item="${CSS.escape(selected.kind + ':' + selected.id)}"]`)
  if (from) from.focus({ preventScroll: true })
}

function Edge({ e, state }) {
  const mine = state.receipts.filter((r) => r.edge === e.id)
  return html`
    <section aria-label="Figures">
      <p class="summary"><${State} e=${e} /> <${Fill} e=${e} /></p>
      <${Figures} rows=${edgeRows(e)} />
      ${state.history && html`<${EdgePlot} id=${e.id} history=${state.history} />`}
    </section>
    <${Settings} e=${e} generation=${state.status.generation} />
    ${mine.map((r, i) => html`<${Receipt} key=${r.key} receipt=${r} latest=${i === 0} generation=${state.status.generation} />`)}
    <${Tap} id=${e.id} />`
}

function edgeRows(e) {
  const r = e.raw
  const rows = [
    ['Queued', `${f.count(r.queued)} of ${f.count(r.capacity)}`],
    ['Bytes', `${f.bytes(r.queued_bytes)} of ${f.bytes(r.capacity_bytes)}`],
    ['Oldest event', r.queued ? f.seconds(r.oldest_seconds) : '–'],
    ['Offered', f.rate(e.offered)],
    ['Taken out', f.rate(e.rate)],
    ['Time blocked', e.blocked > 0 ? f.percent(e.blocked) : 'no'],
    ['Waiting now', f.plural(e.waiting, 'producer')],
    ['Most queued', f.count(r.peak)],
  ]
  for (const [reason, n] of Object.entries(r.dropped || {})) rows.push(['Dropped, ' + reason, f.count(n)])
  if (r.sample_rate) rows.push(['Keeps', f.percent(r.sample_rate)])
  if (r.tripped) rows.push(['Tripped', 'yes: waited its timeout, and nothing has fitted since'])
  return rows
}

function Figures({ rows }) {
  return html`<dl class="figures">${rows.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`
}

function NodePanel({ n, view }) {
  const into = view.order.edges.filter((id) => view.edges[id].to === n.name)
  const out = view.order.edges.filter((id) => view.edges[id].from === n.name)
  return html`
    <section aria-label="Figures">
      ${n.limiting && !calm.includes(n.limiting) && html`<p class="callout">Limits the pipeline: ${causes[n.limiting] || n.limiting}.</p>`}
      ${n.failing && html`<p class="callout">Its last attempt failed and is being repeated.</p>`}
      <h3>Time of its workers</h3>
      ${n.shares ? html`<ul class="shares">${states.map((s) => html`<li key=${s}>
        <span class="name">${s}</span>
        <svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true"><rect class="idle" width="100" height="8" /><rect class=${s} width=${n.shares[s] * 100} height="8" /></svg>
        <span class="num">${f.percent(n.shares[s])}</span></li>`)}</ul>` : html`<p class="empty">Not measured yet.</p>`}
      <${Figures} rows=${nodeRows(n)} />
    </section>
    <${Pipes} title="Takes from" ids=${into} view=${view} />
    <${Pipes} title="Hands on to" ids=${out} view=${view} />`
}

const latencies = (n) => [['Latency p50', f.seconds(n.p50)], ['Latency p95', f.seconds(n.p95)], ['Latency p99', f.seconds(n.p99)]]

function nodeRows(n) {
  const r = n.raw
  const rows = [['Type', n.type], ['Workers', f.count(n.workers)], ['In flight', f.count(r.in_flight)]]
  if (n.kind === 'source') rows.push(['Reads', f.rate(n.rate)], ['Read', f.count(r.read)], ['Acked', f.count(r.acked)], ['Nacked', f.count(r.nacked)])
  if (n.kind === 'source' && r.in_flight_limit) rows.push(['In flight, at most', f.count(r.in_flight_limit)])
  if (n.kind === 'source' && r.lag_events >= 0) rows.push(['Lag', f.plural(r.lag_events, 'event')])
  if (n.kind === 'stage') rows.push(['Takes', f.rate(n.rate)], ['Hands on', f.rate(n.out)], ['In', f.count(r.in)], ['Out', f.count(r.out)], ['Filtered', f.count(r.filtered)])
  if (n.kind === 'sink') rows.push(['Delivers', f.rate(n.rate)], ['Delivered', f.count(r.delivered)], ['Retries', f.count(r.retries)], ...latencies(n))
  rows.push(['Failed', f.count(r.failed || 0)])
  for (const [c, count] of Object.entries(r.errors || {})) rows.push(['Errors, ' + c, f.count(count)])
  return rows
}

function Pipes({ title, ids, view }) {
  if (ids.length === 0) return null
  return html`<section><h3>${title}</h3><ul class="pipes">${ids.map((id) => html`<li key=${id}>
    <button type="button" class="link" onClick=${() => select('edge', id)}>${f.arrow(id)}</button>
    <${State} e=${view.edges[id]} /> <${Fill} e=${view.edges[id]} /></li>`)}</ul></section>`
}
