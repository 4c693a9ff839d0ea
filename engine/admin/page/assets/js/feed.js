// Follows the pipeline: one stream of statuses, repeated when it breaks.

import { api, setToken, hasToken, Refused } from './api.js'
import { store } from './store.js'
import { Model } from './model.js'
import { History } from './history.js'

const silence = 6000 // ms without a word: the link is taken for lost
const manyEdges = 80 // with more of them only two minutes are fetched: ten would be many MB
const pauses = [1000, 2000, 4000, 8000]

const model = new Model()
const history = new History()
let wake = () => {}
let failures = 0

// follow runs for as long as the page is open.
export async function follow() {
  for (;;) {
    try {
      await listen()
      lose(new Error('the server ended the stream'))
    } catch (err) {
      if (err instanceof Refused && err.status === 401) deny()
      else lose(err)
    }
    await pause()
  }
}

// retry ends the pause before the next attempt.
export function retry() {
  wake()
}

// login tries again with a token.
export function login(token) {
  setToken(token)
  store.set({ link: 'connecting' })
  wake()
}

async function listen() {
  const stop = new AbortController()
  let timer
  const beat = () => {
    clearTimeout(timer)
    timer = setTimeout(() => stop.abort(new Error('nothing heard for ' + silence / 1000 + ' s')), silence)
  }
  beat()
  try {
    for await (const m of api.events(stop.signal, beat)) {
      if (m.event === 'status') await arrive(m.data)
    }
  } finally {
    clearTimeout(timer)
    stop.abort()
  }
}

async function arrive(data) {
  const { why, ...status } = data
  const before = store.state.status
  if (before && (status.pipeline !== before.pipeline || status.seconds < before.seconds)) {
    model.reset() // another run
    history.reset()
    store.set({ receipts: [], reloads: [] })
  }
  failures = 0
  const view = model.see(status, why)
  const changed = !before || before.generation !== status.generation
  store.set({ link: 'live', lost: null, deniedBefore: false, status, why: why || null, view })
  if (changed) {
    history.mark(status)
    reloads()
  }
  refresh()
}

let asking = false

async function refresh() {
  if (asking) return
  asking = true
  try {
    const many = store.state.view.order.edges.length > manyEdges
    history.add(await api.history(history.last() || (many ? '2m' : 0)))
    store.set({ history })
  } catch {
    // The next status asks again; the stream notices a lost link.
  } finally {
    asking = false
  }
}

async function reloads() {
  try {
    store.set({ reloads: (await api.reloads()).reloads })
  } catch {
    // Nothing is shown that is not known; the stream notices a lost link.
  }
}

function deny() {
  store.set({ link: 'denied', deniedBefore: hasToken() })
  setToken(null)
}

function lose(err) {
  const wait = pauses[Math.min(failures++, pauses.length - 1)]
  const since = store.state.lost ? store.state.lost.since : Date.now()
  store.set({ link: 'lost', lost: { since, again: Date.now() + wait, why: err.message } })
}

function pause() {
  return new Promise((resolve) => {
    const { link, lost } = store.state
    let timer
    wake = () => {
      clearTimeout(timer)
      resolve()
    }
    if (link === 'lost') timer = setTimeout(wake, Math.max(0, lost.again - Date.now()))
  })
}
