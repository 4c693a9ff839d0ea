package page_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// browser is one headless Chromium for all tests of the package.
var browser struct {
	once sync.Once
	path string
	ctx  context.Context
	stop func()
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if browser.stop != nil {
		browser.stop()
	}
	os.Exit(code)
}

func startBrowser() {
	for _, name := range []string{os.Getenv("PIPECTL_CHROMIUM"), "chromium", "chromium-browser", "google-chrome", "chrome", "headless-shell", "chromium-headless-shell"} {
		if path, err := exec.LookPath(name); name != "" && err == nil {
			browser.path = path
			break
		}
	}
	if browser.path == "" {
		return
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser.path), chromedp.NoSandbox, chromedp.Flag("hide-scrollbars", true))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, leave := chromedp.NewContext(allocator)
	browser.ctx, browser.stop = ctx, func() { leave(); stop() }
	browser.err = chromedp.Do(ctx)
}

// tab is a page of the browser under test.
type tab struct {
	t    *testing.T
	ctx  context.Context
	fake *fake

	mu      sync.Mutex // guards what follows
	console []string
}

type view struct {
	width, height int64
	dark          bool
	calm          bool // prefers-reduced-motion
}

// open shows the page over a fake at the size of v.
func open(t *testing.T, f *fake, v view) *tab {
	t.Helper()
	needBrowser(t)
	done := make(chan struct{})
	go f.run(done)
	server := httptest.NewServer(f)
	t.Cleanup(func() {
		close(done)
		server.CloseClientConnections()
		server.Close()
	})
	tb := newTab(t, v)
	tb.fake = f
	tb.do(chromedp.Navigate(server.URL))
	return tb
}

// needBrowser skips the test, loudly, where there is no browser.
func needBrowser(t *testing.T) {
	t.Helper()
	browser.once.Do(startBrowser)
	if browser.path == "" {
		t.Skip("NOT TESTED: the live page needs a browser, and none is here; install one with: make chromium")
	}
	if browser.err != nil {
		t.Fatalf("%s does not start: %v", browser.path, browser.err)
	}
}

// newTab opens an empty tab. At its end the test fails if the browser has
// complained about anything. The tab must be closed before the server that it
// shows: open it afterwards.
func newTab(t *testing.T, v view) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser.ctx)
	ctx, stop := context.WithTimeout(ctx, 60*time.Second)
	tb := &tab{t: t, ctx: ctx}
	tb.listen()
	tb.size(v)
	t.Cleanup(func() {
		if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil { // the page must not see its server go
			t.Error(err)
		}
		tb.noErrors()
		stop()
		cancel()
	})
	return tb
}

// listen collects what the browser complains about.
func (tb *tab) listen() {
	messages := chromedp.Console(tb.ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.Type != chromedp.ConsoleLog && m.Type != chromedp.ConsoleInfo && m.Type != chromedp.ConsoleDebug {
				tb.mu.Lock()
				tb.console = append(tb.console, fmt.Sprintf("%s (%s:%d)", m, m.URL, m.Line))
				tb.mu.Unlock()
			}
		}
	}()
}

// noErrors fails the test for every complaint of the browser, but those about
// answers that the test provoked.
func (tb *tab) noErrors(provoked ...string) {
	tb.t.Helper()
	tb.mu.Lock()
	defer tb.mu.Unlock()
next:
	for _, m := range tb.console {
		for _, p := range provoked {
			if strings.Contains(m, p) {
				continue next
			}
		}
		tb.t.Errorf("console: %s", m)
	}
	tb.console = nil
}

func (tb *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	tb.t.Helper()
	if err := chromedp.Do(tb.ctx, steps...); err != nil {
		tb.t.Fatal(err)
	}
}

func (tb *tab) size(v view) {
	tb.t.Helper()
	theme, motion := "light", "no-preference"
	if v.dark {
		theme = "dark"
	}
	if v.calm {
		motion = "reduce"
	}
	tb.do(chromedp.EmulateViewport(v.width, v.height), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: motion}}})
		return err
	}))
}

// until waits until a JavaScript expression is true.
func (tb *tab) until(what, expression string) {
	tb.t.Helper()
	_, err := chromedp.Run(tb.ctx, chromedp.Poll[bool]("!!("+expression+")", chromedp.WithPollingInterval(30*time.Millisecond), chromedp.WithPollingTimeout(12*time.Second)))
	if err != nil {
		text, _ := chromedp.Run(tb.ctx, chromedp.Evaluate[string]("document.body.innerText"))
		tb.mu.Lock()
		defer tb.mu.Unlock()
		tb.t.Fatalf("%s: %v\nthe console said: %q\nthe page says:\n%s", what, err, tb.console, text)
	}
}

func (tb *tab) eval(expression string) string {
	tb.t.Helper()
	v, err := chromedp.Run(tb.ctx, chromedp.Evaluate[string]("String("+expression+")"))
	if err != nil {
		tb.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

func (tb *tab) want(expression, want string) {
	tb.t.Helper()
	if got := tb.eval(expression); got != want {
		tb.t.Errorf("%s: got %q, want %q", expression, got, want)
	}
}

// press presses keys, one after another.
func (tb *tab) press(keys ...string) {
	tb.t.Helper()
	for _, k := range keys {
		tb.do(chromedp.KeyEvent(k))
	}
}

// picture takes a screenshot of what is shown.
func (tb *tab) picture(path string) {
	tb.t.Helper()
	png, err := chromedp.Run(tb.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		tb.t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tb.t.Fatal(err)
	}
	if err := os.WriteFile(path, png, 0o644); err != nil {
		tb.t.Fatal(err)
	}
}
