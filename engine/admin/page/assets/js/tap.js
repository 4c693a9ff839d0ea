// A tap shows a sample of the events that are offered to an edge.

import { html, useEffect, useRef, useState } from './ui.js'
import { api } from './api.js'
import { Problems } from './receipt.js'
import * as f from './format.js'

const kept = 100 // events shown

export function Tap({ id }) {
  const [where, setWhere] = useState('')
  const [rate, setRate] = useState('10')
  const [events, setEvents] = useState([])
  const [counts, setCounts] = useState(null)
  const [problem, setProblem] = useState(null)
  const [open, setOpen] = useState(false)
  const running = useRef(null)

  const stop = () => {
    if (running.current) running.current.abort()
    running.current = null
    setOpen(false)
  }
  useEffect(() => stop, [id])

  const start = async () => {
    stop()
    const mine = new AbortController()
    running.current = mine
    setOpen(true)
    setEvents([])
    setCounts(null)
    setProblem(null)
    let number = 0
    try {
      const query = where.trim() ? { where: where.trim(), rate } : { rate }
      for await (const m of api.tap(id, query, mine.signal)) {
        if (m.event === 'sample') {
          const sample = { ...m.data, number: ++number }
          setEvents((all) => [sample, ...all].slice(0, kept))
        }
        if (m.event === 'counts') setCounts(m.data)
      }
    } catch (err) {
      if (!mine.signal.aborted) setProblem(err)
    }
    if (running.current === mine) stop()
  }
  return html`
    <section class="tap" aria-label="Tap">
      <h3>Tap <span class="quiet">a sample of what is offered to this edge</span></h3>
      <form class="tools" onSubmit=${(ev) => (ev.preventDefault(), start())}>
        <label class="wide">Only events for which
          <input type="text" value=${where} placeholder="status >= 500" spellcheck=${false} autocomplete="off" onInput=${(ev) => setWhere(ev.target.value)} /></label>
        <label>At most <select value=${rate} onChange=${(ev) => setRate(ev.target.value)}>
          ${['1', '10', '50'].map((r) => html`<option key=${r} value=${r}>${r}/s</option>`)}</select></label>
        ${open ? html`<button key="stop" type="button" onClick=${stop}>Stop</button>` : html`<button key="start" type="submit">Start</button>`}
      </form>
      ${problem && html`<${Problems} error=${problem} />`}
      ${counts && html`<p class="counts">Seen ${f.count(counts.seen)} · shown ${f.count(counts.shown)} · <b>skipped ${f.count(counts.skipped)}</b>${counts.filtered > 0 && ` · filtered out ${f.count(counts.filtered)}`}</p>`}
      ${open && events.length === 0 && html`<p class="empty">Waiting for an event…</p>`}
      ${events.length > 0 && html`<ol class="samples">${events.map((s) => html`<${Sample} key=${s.number} s=${s} />`)}</ol>`}
    </section>`
}

function Sample({ s }) {
  const body = s.event !== undefined ? s.event : s.text
  const line = typeof body === 'string' ? body : JSON.stringify(body)
  const meta = Object.entries(s.meta || {})
  return html`<li><details>
    <summary><time>${f.clock(s.time)}</time> <code>${line}</code></summary>
    <dl class="figures">
      <div><dt>Id</dt><dd>${s.id || '–'}</dd></div><div><dt>Origin</dt><dd>${s.origin || '–'}</dd></div>
      <div><dt>Age</dt><dd>${f.seconds(s.age_ms / 1000)}</dd></div><div><dt>Size</dt><dd>${f.bytes(s.size)}</dd></div>
      ${meta.map(([k, v]) => html`<div key=${k}><dt>${k}</dt><dd>${v}</dd></div>`)}
    </dl>
    <pre tabindex="0">${typeof body === 'string' ? body : JSON.stringify(body, null, 2)}</pre>
    ${s.truncated && html`<p class="quiet">Cut off.</p>`}
  </details></li>`
}
