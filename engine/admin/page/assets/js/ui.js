// What every view needs: elements written as HTML, hooks, and the store.

import { h, render } from '../lib/preact.mjs'
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from '../lib/hooks.mjs'
import htm from '../lib/htm.mjs'
import { store } from './store.js'

export const html = htm.bind(h)
export { render, useEffect, useLayoutEffect, useMemo, useRef, useState }

// useStore renders the component again whenever the store changes.
export function useStore() {
  const [, again] = useState(0)
  useEffect(() => store.subscribe(() => again((n) => n + 1)), [])
  return store.state
}

// useMedia returns whether a media query holds, and follows it.
export function useMedia(query) {
  const [holds, set] = useState(() => matchMedia(query).matches)
  useEffect(() => {
    const m = matchMedia(query)
    const follow = () => set(m.matches)
    follow()
    m.addEventListener('change', follow)
    return () => m.removeEventListener('change', follow)
  }, [query])
  return holds
}

// useWidth returns the width of an element in CSS pixels, and follows it.
export function useWidth(ref) {
  const [width, set] = useState(0)
  useLayoutEffect(() => {
    const seen = new ResizeObserver(() => ref.current && set(ref.current.clientWidth))
    seen.observe(ref.current)
    set(ref.current.clientWidth)
    return () => seen.disconnect()
  }, [])
  return width
}
