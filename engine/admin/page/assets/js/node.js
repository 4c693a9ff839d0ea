// A node as a card: what it does a second, and how its workers spend their time.

import { html } from './ui.js'
import { states } from './model.js'
import * as f from './format.js'

// calm are the causes that nobody has to do anything about.
export const calm = ['source', 'idle', 'starting', 'ended']

// causes says in a word or two what holds a limiting node up.
export const causes = {
  busy: 'at work', external: 'waits for the far side', throttled: 'throttled', window: 'waits for acks', unclear: 'unclear',
  source: 'reads all there is', idle: 'nothing to do',
}

// outlines: sources are round where events come in, sinks where they go out.
const corners = { source: [26, 9], stage: [9, 9], sink: [9, 26] }

function outline({ w, h }, kind) {
  const [l, r] = corners[kind].map((c) => Math.min(c, h / 2))
  return `M${l} 0H${w - r}a${r} ${r} 0 0 1 ${r} ${r}V${h - r}a${r} ${r} 0 0 1 ${-r} ${r}H${l}a${l} ${l} 0 0 1 ${-l} ${-l}V${l}a${l} ${l} 0 0 1 ${l} ${-l}z`
}

export function Node({ n, place, attrs }) {
  const { w, h } = place
  const top = h / 2 - 53
  const classes = ['node', n.kind, n.limiting && (calm.includes(n.limiting) ? 'paces' : 'limiting'), n.failing && 'failing'].filter(Boolean).join(' ')
  return html`
    <g class=${classes} transform="translate(${place.x} ${place.y})" ...${attrs}>
      <title>${n.name}</title>
      <path class="card" d=${outline(place, n.kind)} />
      <text x="18" y=${top + 26} class="name">${clip(n.name, 14)}</text>
      <text x="18" y=${top + 42} class="type">${clip(n.type, 14)}${n.workers > 1 ? ' ×' + n.workers : ''}</text>
      <text x="18" y=${top + 63} class="rate">${f.rate(n.rate)}</text>
      <${Bar} shares=${n.shares} x=${18} y=${top + 72} w=${w - 36} />
      <text x="18" y=${top + 93} class=${'share ' + n.mostly}>${n.shares ? `${n.mostly} ${f.percent(n.shares[n.mostly])}` : n.kind}</text>
      ${n.limiting && html`<${Badge} x=${w / 2} text=${calm.includes(n.limiting) ? 'SETS THE PACE' : 'THE LIMIT'} />`}
      ${n.failing && !n.limiting && html`<${Badge} x=${w / 2} text="RETRYING" />`}
    </g>`
}

// Bar shows the states of the workers side by side.
function Bar({ shares, x, y, w }) {
  let at = x
  return html`<g class="bar">
    <rect class="idle" x=${x} y=${y} width=${w} height="6" rx="3" />
    ${shares && states.map((s) => {
      const part = s === 'idle' ? 0 : shares[s] * w
      at += part
      return part >= 0.5 && html`<rect key=${s} class=${s} x=${at - part} y=${y} width=${part} height="6" rx=${Math.min(3, part / 2)} />`
    })}
  </g>`
}

function Badge({ x, text }) {
  const w = text.length * 8 + 20
  return html`<g class="badge" transform="translate(${x} -11)">
    <rect x=${-w / 2} width=${w} height="21" rx="10.500" />
    <text y="15">${text}</text>
  </g>`
}

function clip(text, most) {
  return text && text.length > most ? text.slice(0, most - 1) + '…' : text
}
