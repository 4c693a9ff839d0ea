// What a change did, or why it was refused.

import { html, useEffect, useState } from './ui.js'
import { api } from './api.js'
import * as f from './format.js'

const titles = { applied: 'Applied', unchanged: 'Nothing changed', dry_run: 'Tried: nothing has changed yet' }

export function Receipt({ receipt, latest, generation }) {
  const o = receipt.outcome
  const [done, setDone] = useState(false)
  const [problem, setProblem] = useState(null)
  const dry = o.dry_run || o.result === 'dry_run'
  const superseded = generation > o.generation
  const undo = async () => {
    setProblem(null)
    try {
      await api.revert()
      setDone(true)
    } catch (err) {
      setProblem(err)
    }
  }
  const undoable = !dry && o.result !== 'unchanged' && !done
  return html`
    <section class=${'receipt ' + (o.result || 'applied')} role="status" aria-label="Receipt">
      <h3>${titles[o.result] || titles.applied} ${!dry && o.result !== 'unchanged' && html`<span class="quiet">generation ${o.before} → ${o.generation} · ${f.clock(receipt.came)}</span>`}</h3>
      ${(o.edges || []).map((e) => html`<${EdgeChange} key=${e.edge} e=${e} dry=${dry} />`)}
      <${Consequences} o=${o} />
      ${undoable && html`<p class="actions"><button type="button" disabled=${superseded || !latest} onClick=${undo}>Undo</button>
        ${superseded && html`<span class="quiet">Generation ${generation} is in force by now.</span>`}</p>`}
      ${done && html`<p>Undone.</p>`}
      ${problem && html`<${Problems} error=${problem} />`}
    </section>`
}

function EdgeChange({ e, dry }) {
  return html`
    <p class="change"><del>${e.before}</del> <span aria-label="becomes">→</span> <ins>${e.after}</ins></p>
    <dl class="figures">
      <div><dt>Carried over</dt><dd>${f.plural(e.carried_over, 'event')}</dd></div>
      <div><dt>Were waiting</dt><dd>${f.plural(e.blocked_producers, 'producer')}</dd></div>
      ${!dry && html`<div><dt>Paused</dt><dd>${f.count(e.paused_us)} µs</dd></div>`}
      ${e.evicted > 0 && html`<div><dt>Evicted</dt><dd>${f.plural(e.evicted, 'event')}</dd></div>`}
    </dl>`
}

function Consequences({ o }) {
  const lines = []
  const { memory_before: before, memory_after: after } = o
  if (before !== undefined && before !== after) lines.push(`Memory, at worst: ${f.bytes(before)} → ${f.bytes(after)}`)
  for (const g of o.guarantees || []) lines.push(`${g.source} → ${g.sink}: ${g.before} → ${g.after}${g.weaker ? ' (weaker)' : ''}`)
  return lines.length > 0 && html`<ul class="consequences">${lines.map((l) => html`<li key=${l}>${l}</li>`)}</ul>`
}

// Problems says why something was refused.
export function Problems({ error }) {
  const { diagnostics = [], changes = [] } = error.detail || {}
  return html`<div class="problems" role="alert">
    <p>${sentence(error)}</p>
    ${(diagnostics.length > 0 || changes.length > 0) && html`<ul>
      ${diagnostics.map((d) => html`<li>${d.message}${d.hint && html`<small>${d.hint}</small>`}</li>`)}
      ${changes.filter((c) => c.why).map((c) => html`<li>${[c.part, c.name].filter(Boolean).join(' ')}: ${c.why}</li>`)}
    </ul>`}
  </div>`
}

// sentence is the error for people. A TypeError of fetch says nothing useful.
function sentence(error) {
  const text = error instanceof TypeError ? 'the pipeline cannot be reached' : error.message
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? '' : '.')
}

// Trial is a change that is taken back by itself unless somebody keeps it.
export function Trial({ trial }) {
  const [now, tick] = useState(Date.now())
  const [problem, setProblem] = useState(null)
  useEffect(() => {
    const t = setInterval(() => tick(Date.now()), 500)
    return () => clearInterval(t)
  }, [])
  const left = (at) => f.seconds(Math.max(0, Math.ceil((new Date(at) - now) / 1000)))
  const act = (what) => () => what().then(() => setProblem(null), setProblem)
  return html`<section class="trial" aria-label="Change on trial">
    <p><b>Generation ${trial.generation} is on trial.</b>
      ${trial.confirm_by && ` It is undone in ${left(trial.confirm_by)} unless somebody keeps it.`}
      ${trial.guard && html` It is undone as soon as <code>${trial.guard}</code> is false${trial.guard_until && `, watched for ${left(trial.guard_until)} more`}.`}</p>
    <p class="actions"><button type="button" class="primary" onClick=${act(() => api.confirm(trial.generation))}>Keep it</button>
      <button type="button" onClick=${act(api.revert)}>Undo now</button></p>
    ${problem && html`<${Problems} error=${problem} />`}
  </section>`
}

// Reloads lists the last changes of the pipeline, whoever made them, the newest
// first.
export function Reloads({ entries }) {
  const made = entries.filter((r) => r.changes && r.changes.length > 0).reverse()
  if (made.length === 0) return null
  return html`<section class="reloads" aria-label="Changes"><h3>Changes</h3><ol>
    ${made.map((r) => html`<li key=${r.generation + r.at}>
      <b>#${r.generation}</b> <time datetime=${r.at}>${f.clock(r.at)}</time> <span class="quiet">${r.who} · ${r.class}</span>
      <span>${r.changes.map(inWords).join('; ')}${r.revert_of ? ` (takes back #${r.revert_of})` : ''}${r.reverted_by ? ` – undone by ${r.reverted_by}${r.reverted_why ? ': ' + r.reverted_why : ''}` : ''}</span></li>`)}
  </ol></section>`
}

function inWords(c) {
  const name = [c.part, c.name && f.arrow(c.name)].filter(Boolean).join(' ')
  if (c.action !== 'changed') return `${name} ${c.action}`
  return name + ': ' + (c.fields || []).map((d) => `${d.path} ${d.before} → ${d.after}`).join(', ')
}
