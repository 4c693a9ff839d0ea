import { html, render } from './ui.js'
import { App } from './app.js'
import { follow } from './feed.js'

const root = document.getElementById('app')
root.replaceChildren()
render(html`<${App} />`, root)
follow()
