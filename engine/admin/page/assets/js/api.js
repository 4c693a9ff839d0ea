// The admin API. Every request carries the token, if there is one, and the
// header that only this page's own scripts can set.

const tokenKey = 'pipectl-token'

// Refused is an answer other than 2xx. detail is what the server said, which
// may hold diagnostics.
export class Refused extends Error {
  constructor(status, detail) {
    super(detail.error || 'the server answered ' + status)
    this.status = status
    this.detail = detail
  }
}

export function setToken(token) {
  if (token) sessionStorage.setItem(tokenKey, token)
  else sessionStorage.removeItem(tokenKey)
}

export function hasToken() {
  return sessionStorage.getItem(tokenKey) !== null
}

async function request(path, options = {}) {
  const headers = { 'X-Pipectl': '1', ...options.headers }
  const token = sessionStorage.getItem(tokenKey)
  if (token) headers.Authorization = 'Bearer ' + token
  const answer = await fetch('api/v1/' + path, { ...options, headers, cache: 'no-store', credentials: 'same-origin' })
  if (answer.ok) return answer
  const detail = await answer.json().catch(() => ({}))
  throw new Refused(answer.status, detail)
}

async function send(method, path, body, type = 'application/json') {
  const options = { method, headers: { 'Content-Type': type } }
  options.body = body === undefined ? '{}' : JSON.stringify(body)
  return (await request(path, options)).json()
}

const edgePath = (id) => 'edges/' + encodeURIComponent(id)

export const api = {
  history: async (since) => (await request('history' + (since ? '?since=' + since : ''))).json(),
  settings: async (id) => (await request(edgePath(id))).json(),
  reloads: async () => (await request('reloads')).json(),

  // patch changes an edge. query may hold dry_run and confirm_within.
  patch(id, body, query = {}) {
    const params = new URLSearchParams(query).toString()
    return send('PATCH', edgePath(id) + (params && '?' + params), body)
  },
  confirm: (generation) => send('POST', 'confirm?generation=' + generation),
  revert: () => send('POST', 'revert'),

  // events yields what the server sends about the pipeline, until it ends.
  events: (signal, beat) => stream('events', signal, beat),
  tap(id, query, signal) {
    const params = new URLSearchParams(query).toString()
    return stream(edgePath(id) + '/tap' + (params && '?' + params), signal, () => {})
  },
}

// stream yields server-sent events as {event, data}. It is not an EventSource,
// because that cannot send a token. beat is called for whatever arrives,
// comments included.
async function* stream(path, signal, beat) {
  const answer = await request(path, { signal, headers: { Accept: 'text/event-stream' } })
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const { value, done } = await reader.read()
    if (done) return
    beat()
    const parts = (rest + value).split(/\r?\n\r?\n/)
    rest = parts.pop()
    for (const part of parts) {
      const message = parse(part)
      if (message) yield message
    }
  }
}

function parse(block) {
  let event = 'message'
  const data = []
  for (const line of block.split(/\r?\n/)) {
    const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line)
    if (field === 'event') event = value
    else if (field === 'data') data.push(value)
  }
  return data.length ? { event, data: JSON.parse(data.join('\n')) } : null
}
