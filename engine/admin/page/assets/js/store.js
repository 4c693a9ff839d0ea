// The one state of the page. Views read it; feed.js and the views' handlers
// change it with set.

const listeners = new Set()

export const store = {
  state: {
    link: 'connecting', // connecting, live, lost, denied
    lost: null, // since when, when again and why, while the link is lost
    deniedBefore: false, // the token that was sent was not accepted
    status: null, // engine.Status as it arrived last
    why: null, // explain.Report
    view: null, // see model.js
    history: null, // see history.js
    selected: null, // {kind: 'edge' | 'node', id}
    receipts: [], // of the changes made here, newest first
    reloads: [], // what the server says about the last changes
  },
  set(change) {
    Object.assign(store.state, change)
    for (const l of listeners) l()
  },
  subscribe(l) {
    listeners.add(l)
    return () => listeners.delete(l)
  },
}

// select opens the panel of an edge or node; null closes it.
export function select(kind, id) {
  store.set({ selected: kind ? { kind, id } : null })
}
