package page_test

import (
	"os"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/pipectl/pipectl/engine/admin/page"
)

// TestPictures takes the screenshots of the documentation when
// PIPECTL_SCREENSHOTS=1. Otherwise it looks at those that are there.
func TestPictures(t *testing.T) {
	const folder = "../../../docs/images/"
	if os.Getenv("PIPECTL_SCREENSHOTS") == "1" {
		takePictures(t, folder)
	}
	for _, name := range []string{"page-light.png", "page-dark.png", "page-narrow.png"} {
		info, err := os.Stat(folder + name)
		if err != nil {
			t.Error(err)
		} else if got, most := info.Size(), int64(250<<10); got > most {
			t.Errorf("%s has %d bytes, more than %d", name, got, most)
		}
	}
}

func takePictures(t *testing.T, folder string) {
	settle := func() { time.Sleep(1500 * time.Millisecond) } // pipes and plots move, and there is no moment at which they are done
	slowly := newFake(page.Handler(), accessLogs(), 250*time.Millisecond, tenMinutes)
	tb := open(t, slowly, view{width: 1440, height: 1000, calm: true})
	tb.until("the graph is there", is(slow, "blocked"))
	tb.until("the plots are there", `document.querySelectorAll('.plots canvas').length === 3`)
	settle()
	tb.picture(folder + "page-light.png")

	tb.size(view{width: 360, height: 1240, calm: true})
	tb.until("pipes stand", `document.querySelector('.graph.standing')`)
	settle()
	tb.picture(folder + "page-narrow.png")

	tb.size(view{width: 1440, height: 980, dark: true, calm: true})
	tb.until("pipes lie", `!document.querySelector('.graph.standing')`)
	tb.eval(pipeOf(slow) + `.dispatchEvent(new MouseEvent('click', {bubbles: true}))`)
	tb.until("the form is there", `document.querySelector('.settings')`)
	tb.do(chromedp.Click(chromedp.CSS(`.settings input[value=drop-oldest]`)), chromedp.Click(chromedp.CSS(`.settings button[type=submit]`)))
	tb.until("nobody waits any more", `document.querySelector('.receipt') && !document.querySelector('.pipe.blocked')`)
	slowly.tick(70)
	settle()
	tb.eval(`document.querySelector('.receipt').scrollIntoView({block: 'end'})`)
	settle()
	tb.picture(folder + "page-dark.png")
}
