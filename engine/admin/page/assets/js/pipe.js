// An edge as a pipe. Its liquid is what is queued; it grows back from the
// consumer. Colour, pattern, sign and words say the same.

import { html } from './ui.js'
import * as f from './format.js'

const speeds = [[0.05, ''], [50, 'slow'], [2000, 'brisk'], [Infinity, 'fast']]

export function Pipe({ e, place, dir, attrs }) {
  const speed = speeds.find(([most]) => e.rate < most)[1]
  const filled = (e.fill * 100).toFixed(1) + ' 200'
  const turn = dir === 'LR' ? 0 : 90
  return html`
    <g class=${'pipe ' + e.state} ...${attrs}>
      <path class="reach" d=${place.d} />
      <path class="wall" d=${place.d} />
      <path class="bore" d=${place.d} />
      <path class="liquid" d=${place.back} pathLength="100" stroke-dasharray=${filled} />
      ${e.state === 'blocked' && html`<path class="stripes" d=${place.back} pathLength="100" stroke-dasharray=${filled} />`}
      ${speed && html`<path class=${'flow ' + speed} d=${place.d} />`}
      <rect class="flange" x="-3" y="-12" width="6" height="24" rx="2" transform=${move(place.start, turn)} />
      <path class="flange" d="M-12 -12h5l7 12l-7 12h-5z" transform=${move(place.end, turn)} />
      ${e.state === 'blocked' && html`<${Valve} at=${place.start} turn=${turn} />`}
      ${dir === 'LR' ? html`<${Lying} e=${e} at=${place.label} />` : html`<${Standing} e=${e} at=${place.label} />`}
    </g>`
}

const move = (p, turn) => `translate(${p.x} ${p.y}) rotate(${turn})`

// Valve is the sign of a closed pipe: nothing passes here.
function Valve({ at, turn }) {
  return html`<g class="valve" transform=${move(at, turn)}>
    <circle cx="13" r="11" /><rect x="10.8" y="-6" width="4.400" height="12" rx="1.500" />
  </g>`
}

function Lying({ e, at }) {
  const [left, right] = [at.x - 52, at.x + 62]
  const notes = remarks(e)
  return html`<g class="words">
    <text x=${left} y=${at.y - 17} class="policy">${e.policy}</text>
    <text x=${right} y=${at.y - 17} class="fill end">${f.percent(e.fill)}</text>
    <text x=${left} y=${at.y + 26} class="rate">${f.rate(e.rate)}</text>
    ${notes.map((n, i) => html`<text x=${left} y=${at.y + 41 + i * 15} class=${n.kind}>${n.text}</text>`)}
  </g>`
}

function Standing({ e, at }) {
  const x = at.x + 18
  const lines = [{ kind: 'policy', text: e.policy + ' ' + f.percent(e.fill) }, { kind: 'rate', text: f.rate(e.rate) }, ...remarks(e)]
  const top = at.y + 5 - ((lines.length - 1) * 17) / 2
  return html`<g class="words">
    ${lines.map((l, i) => html`<text x=${x} y=${top + i * 17} class=${l.kind}>${l.text}</text>`)}
  </g>`
}

// remarks are what is wrong with an edge, the gravest first.
function remarks(e) {
  const notes = []
  if (e.state === 'blocked') notes.push({ kind: 'blocked', text: 'blocked ' + f.percent(e.blocked) })
  if (e.dropRate > 0) notes.push({ kind: 'dropping', text: '▼ ' + f.rate(e.dropRate) })
  else if (e.dropped > 0) notes.push({ kind: 'dropped', text: f.count(e.dropped) + ' dropped' })
  return notes
}
