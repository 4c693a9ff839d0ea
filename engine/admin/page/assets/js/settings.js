// The form that changes an edge. It sends what was changed and nothing else.

import { html, useEffect, useState } from './ui.js'
import { store } from './store.js'
import { api, Refused } from './api.js'
import { Problems } from './receipt.js'
import * as f from './format.js'

const policies = {
  block: 'Producers wait. Nothing is lost; the pressure travels back to the sources.',
  'drop-oldest': 'The oldest queued events make room. What arrives is fresh; losses are counted.',
  'drop-newest': 'What does not fit is dropped. What is queued stays.',
  'drop-random': 'A random event goes, queued or new.',
  sample: 'Fewer events are kept the fuller the edge is.',
}

// options that belong to a policy, with their labels and what stands for nothing.
const optionsOf = {
  block: ['timeout', 'then'],
  sample: ['base_rate', 'min_rate', 'threshold', 'key'],
}

export function Settings({ e, generation }) {
  const [base, setBase] = useState(null)
  const [draft, setDraft] = useState(null)
  const [busy, setBusy] = useState(false)
  const [problem, setProblem] = useState(null)
  const [confirm, setConfirm] = useState('')

  const load = async () => {
    try {
      const now = flat((await api.settings(e.id)).settings)
      setBase(now)
      setDraft(now)
    } catch (err) {
      setProblem(err)
    }
  }
  useEffect(() => void load(), [e.id, generation])
  if (!draft) return html`<section aria-label="Settings"><h3>Settings</h3>${problem ? html`<${Problems} error=${problem} />` : html`<p class="empty">Loading…</p>`}</section>`

  const body = changes(base, draft)
  const untouched = Object.keys(body).length === 0
  const set = (key) => (ev) => setDraft({ ...draft, [key]: ev.target.value })
  const submit = async (dry) => {
    setBusy(true)
    setProblem(null)
    try {
      const query = dry ? { dry_run: '1' } : confirm ? { confirm_within: confirm } : {}
      const receipt = await api.patch(e.id, body, query)
      keep(e.id, receipt)
    } catch (err) {
      setProblem(err)
      if (!(err instanceof Refused)) throw err
    } finally {
      setBusy(false)
    }
  }
  const field = { draft, set, base }
  return html`
    <form class="settings" aria-label=${'Settings of ' + f.arrow(e.id)} onSubmit=${(ev) => (ev.preventDefault(), submit(false))}>
      <h3>Settings <span class="quiet">generation ${e.raw.generation}</span></h3>
      <fieldset class="policies"><legend>When an event does not fit</legend>
        ${Object.entries(policies).map(([type, words]) => html`<label key=${type} class=${draft.type === type ? 'on' : ''}>
          <input type="radio" name="policy" value=${type} checked=${draft.type === type} onChange=${set('type')} />
          <span><b>${type}</b>${base.type === type && html` <i class="quiet">now</i>`}<small>${words}</small></span></label>`)}
      </fieldset>
      <${PolicyOptions} ...${field} />
      <fieldset class="grid"><legend>Buffer</legend>
        <${Input} ...${field} name="events" label="Events" hint="at most" inputmode="numeric" />
        <${Input} ...${field} name="bytes" label="Bytes" hint="16MiB" />
        <${Input} ...${field} name="age" label="Age" hint="30s; 0s: any" />
        ${Number(draft.events) < e.raw.queued && html`<${Choice} ...${field} name="on_shrink" label="What is over the new bound" options=${{ keep: 'stays queued', evict: 'is dropped' }} />`}
      </fieldset>
      <div class="grid">
        <${Choice} ...${field} name="on_drop" label="A dropped event is" options=${{ ack: 'done (ack)', nack: 'sent again (nack)' }} />
        <label>Undo by itself
          <select value=${confirm} onChange=${(ev) => setConfirm(ev.target.value)}>
            <option value="">no</option><option value="30s">unless kept within 30 s</option><option value="60s">unless kept within 1 min</option><option value="5m">unless kept within 5 min</option>
          </select></label>
      </div>
      ${problem && html`<${Problems} error=${problem} />`}
      <p class="actions">
        <button type="submit" class="primary" disabled=${busy || untouched}>${busy ? 'Changing…' : 'Apply'}</button>
        <button type="button" disabled=${busy || untouched} onClick=${() => submit(true)}>Try without changing</button>
        <button type="button" class="plain" disabled=${busy || untouched} onClick=${() => setDraft(base)}>Reset</button>
      </p>
      <p class="quiet command">${untouched ? 'Nothing is changed yet.' : html`Sends <code>${JSON.stringify(body)}</code>`}</p>
    </form>`
}

function PolicyOptions(props) {
  const { draft } = props
  if (draft.type === 'block') {
    return html`<fieldset class="grid"><legend>Waiting</legend>
      <${Input} ...${props} name="timeout" label="At most" hint="5s; empty: for ever" />
      ${draft.timeout && html`<${Choice} ...${props} name="then" label="Then" options=${{ 'drop-newest': 'drop the new event', 'drop-oldest': 'drop the oldest', fail: 'stop the pipeline' }} />`}
    </fieldset>`
  }
  if (draft.type !== 'sample') return null
  return html`<fieldset class="grid"><legend>Share of events kept</legend>
    <${Input} ...${props} name="base_rate" label="With room" hint="1" inputmode="decimal" />
    <${Input} ...${props} name="threshold" label="Fewer from a fill of" hint="0.8" inputmode="decimal" />
    <${Input} ...${props} name="min_rate" label="When full" hint="0.01" inputmode="decimal" />
    <${Input} ...${props} name="key" label="Same fate by" hint="expression" />
  </fieldset>`
}

function Input({ draft, base, set, name, label, hint, inputmode }) {
  return html`<label class=${draft[name] !== base[name] ? 'changed' : ''}>${label}
    <input type="text" name=${name} value=${draft[name]} placeholder=${hint} inputmode=${inputmode} autocomplete="off" spellcheck=${false} onInput=${set(name)} /></label>`
}

function Choice({ draft, base, set, name, label, options }) {
  return html`<label class=${draft[name] !== base[name] ? 'changed' : ''}>${label}
    <select name=${name} value=${draft[name]} onChange=${set(name)}>
      ${Object.entries(options).map(([value, words]) => html`<option key=${value} value=${value}>${words}</option>`)}
    </select></label>`
}

// flat turns the settings of an edge into the texts of the form.
function flat({ buffer, policy, on_drop, on_shrink }) {
  const text = (v) => (v === undefined || v === null || v === 0 || v === '0s' ? '' : String(v))
  return {
    type: policy.type, timeout: text(policy.timeout), then: policy.then || 'drop-newest',
    base_rate: text(policy.base_rate), min_rate: text(policy.min_rate), threshold: text(policy.threshold), key: policy.key || '',
    events: text(buffer.events), bytes: text(buffer.bytes), age: text(buffer.age),
    on_drop: on_drop || 'ack', on_shrink: on_shrink || 'keep',
  }
}

const numeric = (v) => (v.trim() !== '' && Number.isFinite(Number(v)) ? Number(v) : v.trim())

// changes is the body of the request: a policy as a whole, the rest one by one.
function changes(base, draft) {
  const body = {}
  const differs = (key) => draft[key].trim() !== base[key].trim()
  const buffer = {}
  if (differs('events')) buffer.events = numeric(draft.events)
  if (differs('bytes')) buffer.bytes = numeric(draft.bytes)
  if (differs('age')) buffer.age = draft.age.trim() || '0s'
  if (Object.keys(buffer).length) body.buffer = buffer
  const own = optionsOf[draft.type] || []
  if (differs('type') || own.some(differs)) {
    body.policy = { type: draft.type }
    for (const key of own) {
      if (key === 'then' && !draft.timeout.trim()) continue
      if (draft[key].trim()) body.policy[key] = key === 'timeout' || key === 'then' || key === 'key' ? draft[key].trim() : numeric(draft[key])
    }
  }
  if (differs('on_drop')) body.on_drop = draft.on_drop
  if (differs('on_shrink')) body.on_shrink = draft.on_shrink
  return body
}

let receipts = 0

// keep shows a receipt until the next ones push it out.
function keep(edge, outcome) {
  const receipt = { key: ++receipts, edge, outcome, came: Date.now() }
  store.set({ receipts: [receipt, ...store.state.receipts].slice(0, 20) })
}
