// The edges as a table: for many edges, for small screens, and for who prefers
// words to drawings.

import { html, useState } from './ui.js'
import { select } from './store.js'
import { severity } from './model.js'
import * as f from './format.js'

const orders = {
  worst: { title: 'Worst first', by: (a, b) => severity(b) - severity(a) },
  flow: { title: 'As in the file', by: null },
  rate: { title: 'Rate', by: (a, b) => b.rate - a.rate },
  fill: { title: 'Fill', by: (a, b) => b.fill - a.fill },
}

export function List({ view, selected }) {
  const [order, setOrder] = useState('worst')
  const [search, setSearch] = useState('')
  const all = view.order.edges.map((id) => view.edges[id])
  const found = all.filter((e) => e.id.includes(search.trim()) || e.policy.includes(search.trim()))
  if (orders[order].by) found.sort(orders[order].by)
  return html`<div class="list">
    <div class="tools">
      <label>Find <input type="search" value=${search} placeholder="node, edge or policy" onInput=${(ev) => setSearch(ev.target.value)} /></label>
      <label>Order <select value=${order} onChange=${(ev) => setOrder(ev.target.value)}>
        ${Object.entries(orders).map(([key, o]) => html`<option key=${key} value=${key}>${o.title}</option>`)}
      </select></label>
      <span class="quiet">${found.length === all.length ? f.plural(all.length, 'edge') : `${found.length} of ${f.plural(all.length, 'edge')}`}</span>
    </div>
    <div class="scroll">
      <table>
        <thead><tr><th scope="col">Edge</th><th scope="col">State</th><th scope="col">Fill</th><th scope="col" class="num">Rate</th>
          <th scope="col" class="num">Blocked</th><th scope="col" class="num">Dropped</th><th scope="col" class="num">Oldest</th></tr></thead>
        <tbody>${found.map((e) => html`<${Row} key=${e.id} e=${e} chosen=${selected && selected.kind === 'edge' && selected.id === e.id} />`)}</tbody>
      </table>
    </div>
  </div>`
}

function Row({ e, chosen }) {
  return html`<tr class=${chosen ? 'chosen' : ''} onClick=${() => select('edge', e.id)}>
    <th scope="row"><button type="button" class="link" aria-pressed=${chosen ? 'true' : 'false'}>${f.arrow(e.id)}</button> <span class="quiet">${e.policy}</span></th>
    <td><${State} e=${e} /></td>
    <td><${Fill} e=${e} /></td>
    <td class="num" data-title="Rate">${f.rate(e.rate)}</td>
    <td class="num" data-title="Blocked">${e.blocked > 0 ? f.percent(e.blocked) : '–'}</td>
    <td class="num" data-title="Dropped">${e.dropRate > 0 ? '▼ ' + f.rate(e.dropRate) : e.dropped ? f.count(e.dropped) : '–'}</td>
    <td class="num" data-title="Oldest">${e.raw.queued ? f.seconds(e.raw.oldest_seconds) : '–'}</td>
  </tr>`
}

const signs = { blocked: '■', dropping: '▼', full: '▲', flowing: '●', idle: '○' }

// State names the state of an edge, with its sign.
export function State({ e }) {
  return html`<span class=${'state ' + e.state}><span aria-hidden="true">${signs[e.state]}</span> ${e.state === 'full' ? 'nearly full' : e.state}</span>`
}

// Fill is a level with its figure.
export function Fill({ e }) {
  return html`<span class=${'fillbar ' + e.state}><svg class="level" aria-hidden="true"><rect width=${e.fill * 100 + '%'} height="100%" /></svg><span>${f.percent(e.fill)}</span></span>`
}
