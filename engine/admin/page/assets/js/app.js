// The page: who is running, what limits it, the graph, the plots, the panel.

import { html, useEffect, useLayoutEffect, useRef, useState, useStore, useMedia } from './ui.js'
import { select } from './store.js'
import { login, retry } from './feed.js'
import { Graph, Patterns } from './graph.js'
import { List } from './list.js'
import { Verdict, Tiles } from './verdict.js'
import { Plots } from './plots.js'
import { Panel } from './panel.js'
import { Reloads, Trial } from './receipt.js'
import * as f from './format.js'

const icon = new URL('../icon.svg', import.meta.url).href
const manyEdges = 80 // from here on the table is the better first view

export function App() {
  const state = useStore()
  const { status, view, link } = state
  useEffect(() => {
    document.title = status ? title(state) : 'pipectl'
  })
  useEscape()
  return html`
    <${Patterns} />
    <${Bar} state=${state} />
    ${link === 'denied' && html`<${Login} again=${state.deniedBefore} />`}
    ${link === 'lost' && html`<${Lost} lost=${state.lost} ended=${status && ['drained', 'stopped', 'failed'].includes(status.outcome)} />`}
    ${view ? html`<${Pipeline} state=${state} />` : link !== 'denied' && html`<p class="boot">${link === 'lost' ? 'Nothing to show yet.' : 'Connecting to the pipeline…'}</p>`}`
}

// title tells the state in a tab that is not looked at.
function title({ status, view, link }) {
  const blocked = Object.values(view.edges).filter((e) => e.state === 'blocked').length
  const sign = link !== 'live' ? '… ' : blocked ? '■ ' : ''
  return `${sign}${status.pipeline} · pipectl`
}

function useEscape() {
  useEffect(() => {
    const onKey = (ev) => ev.key === 'Escape' && ev.target === document.body && select(null)
    document.addEventListener('keydown', onKey)
    return () => document.removeEventListener('keydown', onKey)
  }, [])
}

function Pipeline({ state }) {
  const { status, view, why, history, selected, link } = state
  const narrow = useMedia('(max-width: 1020px)')
  const [shown, setShown] = useState(view.order.edges.length > manyEdges ? 'list' : 'graph')
  const trial = status.admin && status.admin.last_reload && status.admin.last_reload.trial
  const covered = narrow && selected !== null
  return html`
    <div class=${'page' + (selected ? ' open' : '') + (link === 'live' ? '' : ' stale')}>
      <main inert=${covered}>
        ${trial && html`<${Trial} key=${trial.generation} trial=${trial} />`}
        <${Verdict} why=${why} view=${view} />
        <${Tiles} view=${view} history=${history} balance=${status.balance} />
        <section class="flow" aria-label="The pipeline">
          <div class="tabs" role="group" aria-label="How to show the pipeline">
            ${[['graph', 'Graph'], ['list', 'Table']].map(([key, name]) => html`<button key=${key} type="button" aria-pressed=${shown === key ? 'true' : 'false'} onClick=${() => setShown(key)}>${name}</button>`)}
          </div>
          ${shown === 'graph' ? html`<${Graph} view=${view} selected=${selected} />` : html`<${List} view=${view} selected=${selected} />`}
          <${Legend} />
        </section>
        ${history && history.times.length > 0 && html`<${Plots} view=${view} history=${history} selected=${selected} />`}
        <${Reloads} entries=${state.reloads} />
      </main>
      ${selected && html`<${Panel} state=${state} />`}
    </div>`
}

function Legend() {
  return html`<ul class="key" aria-label="Colours of the pipes">
    ${[['flowing', 'flowing'], ['full', 'nearly full'], ['blocked', 'blocked'], ['dropping', 'dropping']].map(([key, name]) => html`
      <li key=${key} class=${key}><svg width="26" height="12" aria-hidden="true"><rect width="26" height="12" rx="3" class="wall" /><rect y="2.500" width="26" height="7" class="liquid" />
        ${key === 'blocked' && html`<rect y="2.500" width="26" height="7" class="stripes" />`}</svg> ${name}</li>`)}
  </ul>`
}

const links = { connecting: 'connecting', live: 'live', lost: 'connection lost', denied: 'locked' }

function Bar({ state }) {
  const { status, link } = state
  return html`
    <header class="bar">
      <img src=${icon} alt="" width="28" height="28" />
      <h1>${status ? status.pipeline : 'pipectl'}</h1>
      ${status && html`<p class="facts"><span class=${'outcome ' + status.outcome}>${status.outcome}</span>
        <span>${f.seconds(Math.floor(status.seconds))}</span> <span title="of the configuration">generation ${status.generation}</span></p>`}
      <p class=${'link ' + link} role="status"><span aria-hidden="true" class="dot"></span> ${links[link]}</p>
    </header>`
}

function Lost({ lost, ended }) {
  const [now, tick] = useState(Date.now())
  useEffect(() => {
    const t = setInterval(() => tick(Date.now()), 500)
    return () => clearInterval(t)
  }, [])
  const left = Math.ceil((lost.again - now) / 1000)
  const gone = Math.max(0, Math.round((now - lost.since) / 1000))
  return html`<div class="offline" role="alert">
    <p><b>${ended ? 'The pipeline has ended.' : `The connection has been lost for ${gone} s.`}</b> What is shown is from before. ${left > 0 ? `Trying again in ${left} s.` : 'Trying again…'}</p>
    <button type="button" onClick=${retry}>Try now</button>
  </div>`
}

function Login({ again }) {
  const box = useRef(null)
  useLayoutEffect(() => box.current.showModal(), []) // before anybody sees it and types
  const submit = (ev) => {
    ev.preventDefault()
    login(ev.target.elements.token.value)
  }
  return html`
    <dialog class="login" ref=${box} aria-labelledby="login-title" onCancel=${(ev) => ev.preventDefault()}>
      <form onSubmit=${submit}>
        <h2 id="login-title">This pipeline asks for a token</h2>
        <p>It is the value of <code>admin.token</code> in the pipeline’s file. It is kept until this tab is closed.</p>
        <label>Token <input name="token" type="password" required autocomplete="current-password" autofocus /></label>
        ${again && html`<p class="problems" role="alert">That token was not accepted.</p>`}
        <p class="actions"><button type="submit" class="primary">Open</button></p>
      </form>
    </dialog>`
}
