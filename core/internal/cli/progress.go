package cli

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"

	"github.com/platformd/platformd/core/internal/backup"
)

// progress is a bar on a terminal, and nothing elsewhere. What is still read when it has ended draws nothing.
type progress struct {
	bar   *progressbar.ProgressBar
	mu    sync.Mutex
	ended bool
}

// progress lets a backup show how far it is.
func (a *app) progress(work *backup.Options) *progress {
	p := a.bar()
	if p.bar != nil {
		work.Progress = func(now backup.Progress) { p.show(now.What, now.Done, now.Total) }
	}
	return p
}

func (a *app) bar() *progress {
	file, isFile := a.err.Writer.(*os.File)
	if !isFile || !isatty.IsTerminal(file.Fd()) {
		return &progress{}
	}
	return &progress{bar: progressbar.NewOptions64(1,
		progressbar.OptionSetWriter(file), progressbar.OptionClearOnFinish(), progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetPredictTime(false), progressbar.OptionThrottle(50*time.Millisecond),
	)}
}

// show draws how far the work is. That a bar cannot be drawn stops nothing.
func (p *progress) show(what string, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar == nil || p.ended {
		return
	}
	p.bar.Describe(clean(what))
	p.bar.ChangeMax64(max(total, 1))
	_ = p.bar.Set64(min(done, max(total-1, 0))) // at its end it would take itself for finished
}

// end removes the bar.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.bar != nil {
		_ = p.bar.Clear()
		_ = p.bar.Exit()
	}
}

// counting is a file that shows how much of it has been read.
type counting struct {
	io.Reader
	*progress
	what        string
	done, total int64
}

// Read implements io.Reader.
func (w *counting) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	w.done += int64(n)
	w.show(w.what, w.done, w.total)
	return n, err
}
