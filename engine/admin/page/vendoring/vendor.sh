#!/bin/sh
# Copies the libraries of the live page from npm into ../assets/lib, exactly the
# versions and checksums of package-lock.json, and writes SHA256SUMS, which a
# test compares. Needs npm; building pipectl does not.
#
# The browser gets them as they are but for three edits that a page without a
# bundler and without inline scripts needs: hooks.mjs names preact by its file,
# uPlot is exported as a module, and comments that point to source maps go.
#
# The folder must not be called vendor: Go leaves such folders out of modules.
set -eu
cd "$(dirname "$0")"
lib=../assets/lib
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp package.json package-lock.json "$work"
(cd "$work" && npm ci --ignore-scripts --no-audit --no-fund --silent)

rm -rf "$lib"
mkdir -p "$lib/licences"
from="$work/node_modules"
nomap='/^\/\/# sourceMappingURL=/d'
sed "$nomap" "$from/preact/dist/preact.mjs" >"$lib/preact.mjs"
sed -e "$nomap" -e 's#from"preact"#from"./preact.mjs"#' "$from/preact/hooks/dist/hooks.mjs" >"$lib/hooks.mjs"
sed "$nomap" "$from/htm/dist/htm.mjs" >"$lib/htm.mjs"
sed -e "$nomap" -e '/^\/\*! For license information/d' "$from/@dagrejs/dagre/dist/dagre.esm.js" >"$lib/dagre.mjs"
{ cat "$from/uplot/dist/uPlot.iife.min.js"; printf '\nexport default uPlot;\n'; } >"$lib/uplot.mjs"
cp "$from/uplot/dist/uPlot.min.css" "$lib/uplot.css"

cp "$from/preact/LICENSE" "$lib/licences/preact.txt"
cp "$from/htm/LICENSE" "$lib/licences/htm.txt"
cp "$from/@dagrejs/dagre/LICENSE" "$lib/licences/dagre.txt"
cp "$from/@dagrejs/dagre/dist/dagre.esm.js.LEGAL.txt" "$lib/licences/dagre-contents.txt"
cp "$from/uplot/LICENSE" "$lib/licences/uplot.txt"

cd "$lib"
find . -type f ! -name SHA256SUMS | LC_ALL=C sort | sed 's#^\./##' | xargs sha256sum >SHA256SUMS
