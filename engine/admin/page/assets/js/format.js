// Figures as people read them.

const nb = '\u00a0' // between a figure and its unit: no line ends there
const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })

// count writes a number of events: 987, 12,345, 1.23M.
export function count(n) {
  if (!Number.isFinite(n)) return '–'
  const size = Math.abs(n)
  if (size < 100_000) return whole.format(n)
  if (size < 1e6) return short(n / 1e3) + 'k'
  if (size < 1e9) return short(n / 1e6) + 'M'
  return short(n / 1e9) + 'G'
}

// short writes three significant digits.
function short(n) {
  const size = Math.abs(n)
  return n.toFixed(size < 10 ? 2 : size < 100 ? 1 : 0)
}

// rate writes events a second: 0, 3.2, 1,250, 48.2k.
export function rate(n) {
  if (!Number.isFinite(n)) return '–'
  const size = Math.abs(n)
  if (size < 0.05) return '0/s'
  if (size < 10) return n.toFixed(1) + '/s'
  if (size < 10_000) return whole.format(n) + '/s'
  return count(size < 1e6 ? Math.round(n / 100) * 100 : n).replace(/^(\d+),(\d)00$/, '$1.$2k') + '/s'
}

// percent writes a share from 0 to 1.
export function percent(share) {
  if (!Number.isFinite(share)) return '–'
  const p = share * 100
  if (p > 0 && p < 1) return '<1' + nb + '%'
  if (p > 99 && p < 100) return '99' + nb + '%'
  return Math.round(p) + nb + '%'
}

// bytes writes a size: 16 MiB.
export function bytes(n) {
  if (!Number.isFinite(n)) return '–'
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let i = 0
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024
  return (i === 0 || n >= 100 || Number.isInteger(n) ? Math.round(n) : n.toFixed(1)) + nb + units[i]
}

// seconds writes a duration: 340 µs, 12 ms, 1.5 s, 4 min 10 s, 3 h 5 min.
export function seconds(s) {
  if (!Number.isFinite(s) || s < 0) return '–'
  if (s === 0) return '0' + nb + 's'
  if (s < 0.001) return Math.max(1, Math.round(s * 1e6)) + nb + 'µs'
  if (s < 1) return (s < 0.01 ? (s * 1e3).toFixed(1) : Math.round(s * 1e3)) + nb + 'ms'
  if (s < 60) return (s < 10 ? s.toFixed(1) : Math.round(s)) + nb + 's'
  if (s < 3600) return Math.floor(s / 60) + nb + 'min ' + Math.floor(s % 60) + nb + 's'
  if (s < 86400) return Math.floor(s / 3600) + nb + 'h ' + Math.floor((s % 3600) / 60) + nb + 'min'
  return Math.floor(s / 86400) + nb + 'd ' + Math.floor((s % 86400) / 3600) + nb + 'h'
}

// clock writes the time of day.
export function clock(at) {
  return new Date(at).toLocaleTimeString('en-GB')
}

// plural writes "1 producer" and "3 producers".
export function plural(n, word) {
  return count(n) + ' ' + word + (n === 1 ? '' : 's')
}

// arrow writes an edge's id for people.
export function arrow(id) {
  return id.replace('->', ' → ')
}
