// What limits the pipeline, in the sentences of why, and the figures of the
// whole.

import { html } from './ui.js'
import { select } from './store.js'
import { calm, causes } from './node.js'
import * as f from './format.js'

const atOnce = 3 // sentences that are shown without being asked for

export function Verdict({ why, view }) {
  if (!why) return html`<section class="verdict calm" aria-label="What limits the pipeline"><p class="headline">Measuring what limits this pipeline…</p></section>`
  const limits = (why.bottlenecks || []).filter((b) => !calm.includes(b.cause))
  const has = (form) => limits.some((b) => b.form === form)
  const tone = has('pressure') ? 'grave' : has('loss') ? 'loss' : limits.length === 0 && calm.includes(why.cause) ? 'calm' : 'watch'
  const [headline, ...others] = why.sentences || []
  const next = why.next ? others.filter((s) => s === why.next.sentence) : []
  const rest = others.filter((s) => !next.includes(s))
  const edge = limits.map((b) => b.edge).find((id) => view.edges[id])
  return html`
    <section class=${'verdict ' + tone} aria-label="What limits the pipeline">
      <div class="sign" aria-hidden="true">${{ calm: '✓', loss: '▼' }[tone] || '!'}</div>
      <div class="said">
        <p class="headline" aria-live="polite"><${Said} text=${headline || 'Nothing can be said yet.'} /></p>
        <${Sentences} all=${rest.slice(0, atOnce)} />
        ${rest.length > atOnce && html`<details><summary>${rest.length - atOnce} more</summary><${Sentences} all=${rest.slice(atOnce)} /></details>`}
        <${Sentences} all=${next} />
        <p class="actions">
          ${why.limiting && view.nodes[why.limiting] && html`<button type="button" onClick=${() => select('node', why.limiting)}>
            <span class="key">${calm.includes(why.cause) ? 'paced by' : 'limit'}</span> ${why.limiting} <span class="quiet">${causes[why.cause] || why.cause}</span></button>`}
          ${edge && html`<button type="button" class="primary" onClick=${() => select('edge', edge)}>Open the edge ${f.arrow(edge)}</button>`}
        </p>
      </div>
    </section>`
}

function Sentences({ all }) {
  return all.length > 0 && html`<ul>${all.map((s) => html`<li key=${s}><${Said} text=${s} /></li>`)}</ul>`
}

// Said writes a sentence: commands as they are typed, edges with an arrow that
// does not break.
function Said({ text }) {
  const parts = text.split(/(pipectl [a-z].*?)(?=\.?$|[.;] )/)
  return parts.map((p, i) => (i % 2 ? html`<code>${p}</code>` : p.replaceAll('->', '\u00a0→\u00a0')))
}

export function Tiles({ view, history, balance }) {
  const t = view.totals
  const recent = (values) => (history ? values().slice(-90) : [])
  const sources = view.order.sources.map((n) => 'node/' + n + '/rate')
  const sinks = view.order.sinks.map((n) => 'node/' + n + '/out_rate')
  return html`
    <dl class="tiles">
      <${Tile} name="Read" value=${f.rate(t.read)} note=${'from ' + f.plural(sources.length, 'source')} line=${recent(() => history.total(sources))} />
      <${Tile} name="Delivered" value=${f.rate(t.delivered)} note=${'to ' + f.plural(sinks.length, 'sink')} line=${recent(() => history.total(sinks))} />
      <${Tile} name="Dropped" value=${f.rate(t.dropRate)} note=${f.count(t.dropped) + ' in all'} alarm=${t.dropRate > 0 && 'dropping'}
        line=${recent(() => history.total(view.order.edges.map((e) => 'edge/' + e + '/dropped')))} />
      <${Tile} name="Failed" value=${f.rate(t.failedRate)} note=${f.count(t.failed) + ' lost'} alarm=${t.failedRate > 0 && 'blocked'} />
      <${Tile} name="Latency p95" value=${f.seconds(t.p95)} note=${t.slowest ? 'read to ' + t.slowest : 'end to end'}
        line=${recent(() => history.largest(view.order.sinks.map((n) => 'sink/' + n + '/p95')))} />
      <${Tile} name="In flight" value=${f.count(t.inFlight)} note=${balance.error ? f.plural(balance.error, 'event') + ' unaccounted' : 'all accounted for'} alarm=${balance.error !== 0 && 'blocked'} />
    </dl>`
}

function Tile({ name, value, note, line, alarm }) {
  return html`<div class=${'tile ' + (alarm || '')}>
    <dt>${name}</dt>
    <dd><strong>${value}</strong>${note && html`<small>${note}</small>`}</dd>
    ${line && line.length > 1 && line.some((v) => v > 0) && html`<${Spark} values=${line} />`}
  </div>`
}

// Spark draws a course without axes.
function Spark({ values }) {
  const known = values.filter((v) => !Number.isNaN(v))
  const most = Math.max(...known, 1e-9)
  const step = 100 / (values.length - 1)
  let d = ''
  let pen = 'M'
  values.forEach((v, i) => {
    if (Number.isNaN(v)) {
      pen = 'M'
      return
    }
    d += `${pen}${(i * step).toFixed(1)} ${(23 - (v / most) * 21).toFixed(1)}`
    pen = 'L'
  })
  return html`<svg class="spark" viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true"><path d=${d} /></svg>`
}
