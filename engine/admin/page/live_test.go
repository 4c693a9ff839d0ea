package page_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/pipectl/pipectl/engine/admin/page"
	"github.com/pipectl/pipectl/engine/config"
	"github.com/pipectl/pipectl/engine/pipe"
)

const (
	beat       = 60 * time.Millisecond
	tenMinutes = 600 // s
)

var (
	desk  = view{width: 1440, height: 900}
	phone = view{width: 360, height: 740, dark: true}
)

func newPage(t *testing.T, v view) *tab {
	t.Helper()
	return open(t, newFake(page.Handler(), accessLogs(), beat, tenMinutes), v)
}

func pipeOf(id string) string {
	return fmt.Sprintf(`document.querySelector('[data-item="edge:%s"]')`, id)
}

func is(id, state string) string { return pipeOf(id) + `?.classList.contains('` + state + `')` }

const slow = "shape->search"

// The story of the page: somebody sees the red pipe and why, opens it, makes it
// drop, and the source speeds up. Then they take it back.
func TestSeesPressureAndTakesItAway(t *testing.T) {
	tb := newPage(t, desk)
	tb.until("the slow edge is red", is(slow, "blocked"))
	tb.want(`getComputedStyle(`+pipeOf(slow)+`.querySelector('.liquid')).stroke`, "rgb(214, 50, 47)")
	tb.until("and says so", pipeOf(slow)+`.textContent.includes('blocked 100')`)
	tb.until("and its name too", `/block: blocked .* of the time/.test(`+pipeOf(slow)+`.getAttribute('aria-label'))`)
	tb.until("the sink is named", `document.querySelector('.verdict.grave .headline')?.textContent.includes('Sink search limits')`)
	tb.until("and marked", `document.querySelector('[data-item="node:search"] .badge')`)
	tb.until("there are plots", `document.querySelectorAll('.plots canvas').length === 3`)

	tb.do(chromedp.Click(chromedp.CSS(`[data-item="edge:` + slow + `"]`)))
	tb.until("the form is there", `document.querySelector('.settings')`)
	tb.want(`document.querySelector('.settings [name=policy]:checked').value`, "block")
	tb.want(`document.querySelector('.settings button[type=submit]').disabled`, "true")
	tb.do(chromedp.Click(chromedp.CSS(`.settings input[value=drop-oldest]`)), chromedp.Click(chromedp.CSS(`.settings button[type=submit]`)))

	tb.until("there is a receipt", `document.querySelector('.receipt.applied')`)
	receipt := tb.eval(`document.querySelector('.receipt').innerText`)
	for _, want := range []string{"generation 1 → 2", "block, 8192 events", "→ drop-oldest", "8,192 events", "1 producer", "23 µs"} {
		if !strings.Contains(strings.ReplaceAll(receipt, "\u00a0", " "), want) {
			t.Errorf("the receipt lacks %q:\n%s", want, receipt)
		}
	}
	tb.until("the edge drops", is(slow, "dropping"))
	tb.until("nobody waits any more", `!document.querySelector('.pipe.blocked')`)
	tb.until("the source reads three times as much", `parseFloat(document.querySelector('.tile strong').textContent.replace(',', '')) > 5000`)
	tb.until("the change is listed", `document.querySelector('.reloads')?.textContent.includes('policy block → drop-oldest')`)
	if got, want := strings.Join(tb.fake.sent(), " "), `{"policy":{"type":"drop-oldest"}}`; got != want {
		t.Errorf("sent %s, want %s", got, want)
	}

	tb.do(chromedp.Click(chromedp.CSS(`.receipt button`)))
	tb.until("it is undone", `document.querySelector('.bar').textContent.includes('generation 3')`)
	tb.until("the pressure is back", is(slow, "blocked"))
	tb.until("the form shows it", `document.querySelector('.settings [name=policy]:checked').value === 'block'`)
}

// Everything works without a mouse.
func TestKeyboard(t *testing.T) {
	tb := newPage(t, desk)
	tb.until("the graph is there", is(slow, "blocked"))
	focused := `document.activeElement.dataset.item`
	tb.eval(`document.querySelector('.zoom button:last-child').focus()`)
	tb.press(kb.Tab)
	tb.want(focused, "node:access") // one stop for the whole graph
	tb.press(kb.ArrowRight, kb.ArrowRight)
	tb.want(focused, "node:parse")
	tb.press(kb.ArrowRight)
	tb.want(focused, "edge:parse.failed->bad")
	tb.press(kb.ArrowDown)
	tb.want(focused, "edge:parse->keep")
	tb.press(kb.ArrowLeft, kb.ArrowRight, kb.ArrowDown, kb.ArrowRight)
	tb.want(focused, "node:keep")
	tb.press(kb.ArrowRight, kb.ArrowDown)
	tb.want(focused, "edge:keep->shape")
	tb.until("the focus shows", `getComputedStyle(document.activeElement.querySelector('.wall')).stroke === 'rgb(11, 99, 206)'`)
	tb.press(kb.ArrowRight, kb.ArrowRight)
	tb.want(focused, "edge:"+slow)
	tb.press(kb.Enter)
	tb.until("the panel is open and has the focus", `document.activeElement.id === 'panel-title'`)
	tb.until("with the form", `document.querySelector('.settings')`)
	tb.press(kb.Tab)
	tb.want(`document.activeElement.className`, "close")
	tb.press(kb.Tab)
	tb.want(`document.activeElement.value`, "block")
	tb.press(kb.ArrowDown, kb.ArrowDown, kb.Enter)
	tb.until("Enter applies", `document.querySelector('.receipt')?.textContent.includes('drop-newest')`)
	tb.press(kb.Escape)
	tb.until("Escape closes", `!document.querySelector('.panel')`)
	tb.want(focused, "edge:"+slow)
}

func TestFitsEveryScreen(t *testing.T) {
	tb := newPage(t, phone)
	fits := func(what string) {
		t.Helper()
		tb.until(what+" fits", `document.scrollingElement.scrollWidth <= innerWidth && document.body.scrollWidth <= innerWidth`)
	}
	for _, v := range []view{phone, {width: 768, height: 1024}, desk, {width: 2560, height: 1300, dark: true}} {
		tb.size(v)
		what := fmt.Sprint(v.width)
		tb.until("the graph is there", is(slow, "blocked"))
		fits(what)
		tb.contrast(what)
		tb.eval(pipeOf(slow) + `.dispatchEvent(new MouseEvent('click', {bubbles: true}))`)
		tb.until("the form is there", `document.querySelector('.settings')`)
		fits(what + " with the panel")
		tb.contrast(what + " with the panel")
		tb.eval(`document.querySelector('.close').click()`)
		tb.eval(`document.querySelectorAll('.tabs button')[1].click()`)
		tb.until("the table is there", `document.querySelectorAll('.list tbody tr').length === 6`)
		fits(what + " as a table")
		tb.contrast(what + " as a table")
		tb.eval(`document.querySelectorAll('.tabs button')[0].click()`)
	}
	tb.size(phone)
	tb.until("pipes stand on a phone", `document.querySelector('.graph.standing')`)
}

// contrast fails for text that is hard to read: WCAG 2 AA.
func (tb *tab) contrast(what string) {
	tb.t.Helper()
	if bad := tb.eval(contrastJS); bad != "" {
		tb.t.Errorf("%s: hard to read:\n%s", what, bad)
	}
}

const contrastJS = `(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true})
  const rgba = (c) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data] }
  const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0)
  const under = (e) => { for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] > 250) return c } return rgba('white') }
  const bad = []
  for (const e of document.querySelectorAll('main *, .panel *, .bar *')) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) || e.closest('title, [aria-hidden], .badge, :disabled, option, [inert]')) continue
    const s = getComputedStyle(e), svg = e.closest('svg')
    const fore = rgba(svg ? s.fill : s.color), back = under(svg || e)
    const [a, b] = [light(fore), light(back)].sort((x, y) => y - x)
    const ratio = (a + .05) / (b + .05), size = parseFloat(s.fontSize)
    if (ratio < (size >= 24 || size >= 18.6 && s.fontWeight >= 700 ? 3 : 4.5)) bad.push(e.textContent.trim().slice(0, 40) + ' ' + e.className + ' ' + ratio.toFixed(2))
  }
  return [...new Set(bad)].join('\n')
})()`

func TestNamesForScreenReaders(t *testing.T) {
	tb := newPage(t, desk)
	tb.until("the graph is there", is(slow, "blocked"))
	tb.eval(pipeOf(slow) + `.dispatchEvent(new MouseEvent('click', {bubbles: true}))`)
	tb.until("the form is there", `document.querySelector('.settings') && document.querySelector('.plots canvas')`)
	tb.want(`[...document.querySelectorAll('[role=button]')].filter((e) => !e.getAttribute('aria-label')).length`, "0")
	tb.want(`[...document.querySelectorAll('button')].filter((e) => !e.textContent.trim() && !e.getAttribute('aria-label')).length`, "0")
	tb.want(`[...document.querySelectorAll('input, select')].filter((e) => !e.labels.length).length`, "0")
	tb.want(`[...document.querySelectorAll('[role=img]')].filter((e) => !/now: .*\d/.test(e.getAttribute('aria-label'))).length`, "0")
	tb.want(`document.querySelectorAll('h1').length`, "1")
	tb.want(`document.documentElement.lang`, "en")
}

func TestStillOnRequest(t *testing.T) {
	tb := newPage(t, desk)
	tb.until("a pipe flows", `document.querySelector('.flow.slow, .flow.brisk, .flow.fast')`)
	animation := `getComputedStyle(document.querySelector('.pipe .flow')).animationName`
	tb.want(animation, "flow")
	calm := desk
	calm.calm = true
	tb.size(calm)
	tb.want(animation, "none")
}

func TestAsksForTheToken(t *testing.T) {
	f := newFake(page.Handler(), accessLogs(), beat, tenMinutes)
	f.token = "s3cret"
	tb := open(t, f, desk)
	tb.until("the page asks", `document.querySelector('dialog.login:modal')`)
	tb.want(`document.activeElement.name`, "token")
	tb.press("wrong", kb.Enter)
	tb.until("a wrong token is refused", `document.querySelector('.login')?.textContent.includes('not accepted')`)
	tb.eval(`document.querySelector('[name=token]').select()`)
	tb.press("s3cret", kb.Enter)
	tb.until("the right one opens", `document.querySelector('.link.live') && !document.querySelector('dialog')`)
	tb.want(`document.cookie + localStorage.length`, "0") // it is kept for this tab only
	tb.do(chromedp.Reload())
	tb.until("and is remembered", `document.querySelector('.link.live')`)
	tb.noErrors("401")
}

func TestLostAndFound(t *testing.T) {
	tb := newPage(t, desk)
	tb.until("it is live", `document.querySelector('.link.live')`)
	tb.fake.cut(true)
	tb.until("the loss shows", `document.querySelector('.offline')?.textContent.includes('Trying again')`)
	tb.until("what is old is pale", `document.querySelector('.page.stale')`)
	tb.fake.cut(false)
	tb.eval(`document.querySelector('.offline button').click()`)
	tb.until("it is found again", `document.querySelector('.link.live') && !document.querySelector('.offline') && !document.querySelector('.stale')`)
	tb.noErrors("ERR_", "Failed to load resource")
}

func TestTap(t *testing.T) {
	tb := newPage(t, desk)
	tb.until("the graph is there", is(slow, "blocked"))
	tb.eval(pipeOf(slow) + `.dispatchEvent(new MouseEvent('click', {bubbles: true}))`)
	tb.until("the panel is there", `document.querySelector('.tap button')`)
	tb.do(chromedp.Click(chromedp.CSS(`.tap input`)))
	tb.press("status >> 500", kb.Enter)
	tb.until("a bad filter is refused", `document.querySelector('.tap .problems')?.textContent.includes('unexpected token')`)
	tb.eval(`document.querySelector('.tap input').select()`)
	tb.press("status >= 500", kb.Enter)
	tb.until("events show", `document.querySelectorAll('.tap .samples li').length === 10`)
	tb.until("and what was skipped", `/skipped [\d.]+[kM]/.test(document.querySelector('.tap .counts').textContent)`)
	tb.do(chromedp.Click(chromedp.CSS(`.tap summary`)))
	tb.until("an event opens", `document.querySelector('.tap details[open] pre').textContent.includes('"path": "/checkout/9"')`)
	tb.do(chromedp.Click(chromedp.CSS(`.tap button`)))
	tb.until("it stops", `document.querySelector('.tap button').textContent === 'Start'`)
	tb.noErrors("400")
}

func TestRefusalsTrialsAndDryRuns(t *testing.T) {
	tb := newPage(t, desk)
	tb.until("the graph is there", is(slow, "blocked"))
	tb.eval(pipeOf(slow) + `.dispatchEvent(new MouseEvent('click', {bubbles: true}))`)
	tb.until("the form is there", `document.querySelector('.settings')`)
	enter := func(name, text string) {
		t.Helper()
		tb.eval(`document.querySelector('.settings [name=` + name + `]').select()`)
		tb.press(text)
	}
	submit := chromedp.Click(chromedp.CSS(`.settings button[type=submit]`))

	enter("events", "many")
	tb.do(submit)
	tb.until("a mistake is explained", `document.querySelector('.settings .problems li')`)
	enter("events", "100")
	tb.until("a smaller buffer asks what goes", `document.querySelector('.settings [name=on_shrink]')`)
	enter("timeout", "5s")
	tb.until("a timeout asks what then", `document.querySelector('.settings [name=then]')`)
	tb.do(chromedp.Click(chromedp.CSS(`.settings .actions button:nth-child(2)`)))
	tb.until("a dry run changes nothing", `document.querySelector('.receipt.dry_run')?.textContent.includes('nothing has changed yet')`)
	tb.want(`document.querySelector('.receipt.dry_run button') === null`, "true")
	tb.eval(`(() => { const s = document.querySelector('.settings div.grid label:last-child select'); s.value = '60s'; s.dispatchEvent(new Event('change', {bubbles: true})) })()`)
	tb.do(submit)
	tb.until("the change is on trial", `document.querySelector('.trial')?.textContent.includes('undone in')`)
	sent := tb.fake.sent()
	if got, want := sent[len(sent)-1], `{"buffer":{"events":100},"policy":{"type":"block","timeout":"5s","then":"drop-newest"}}`; got != want {
		t.Errorf("sent %s, want %s", got, want)
	}
	tb.do(chromedp.Click(chromedp.CSS(`.trial .primary`)))
	tb.until("it is kept", `!document.querySelector('.trial')`)
	tb.noErrors("422")
}

// A graph of 200 nodes begins with the table, worst first, and can be drawn.
func TestLargePipeline(t *testing.T) {
	w := newWorld("large")
	w.node(pipe.KindSource, "in", "ticker", 4000)
	for i := 1; i < 200; i++ {
		kind := pipe.KindStage
		if 2*i+1 >= 200 {
			kind = pipe.KindSink
		}
		from := "in"
		if i > 2 {
			from = fmt.Sprint("node-", (i-1)/2)
		}
		w.node(kind, fmt.Sprint("node-", i), "map", 5000+float64(i*37%900))
		w.edge(from, fmt.Sprint("node-", i), config.Block, 1024)
	}
	w.nodes["node-150"].pace = 1000
	tb := open(t, newFake(page.Handler(), w, 300*time.Millisecond, 30), desk)
	tb.until("the table is there", `document.querySelectorAll('.list tbody tr').length === 199`)
	tb.until("the worst is first", `document.querySelector('.list tbody tr .state.blocked')`)
	tb.do(chromedp.Click(chromedp.CSS(`.list input[type=search]`)))
	tb.press("node-150")
	tb.until("it finds", `document.querySelectorAll('.list tbody tr').length === 1`)
	tb.do(chromedp.Click(chromedp.CSS(`.list tbody tr button`)))
	tb.until("a row opens the panel", `document.querySelector('#panel-title')?.textContent.endsWith('→ node-150')`)
	tb.eval(`document.querySelector('.tabs button').click()`)
	tb.until("all is drawn", `document.querySelectorAll('.graph .node').length === 200 && document.querySelectorAll('.graph .pipe').length === 199`)
	tb.until("what was chosen shows", `(() => { const p = document.querySelector('.pipe[aria-pressed=true]').getBoundingClientRect(), c = document.querySelector('.canvas').getBoundingClientRect(); return p.top >= c.top && p.bottom <= c.bottom })()`)
	tb.want(`document.querySelector('.graph').classList.contains('moves')`, "false")
}
