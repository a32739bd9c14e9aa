package cli

import (
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"

	"github.com/platformd/platformd/core/internal/backup"
)

// progress is a bar on a terminal, and nothing elsewhere.
type progress struct{ bar *progressbar.ProgressBar }

// progress lets work show how far it is.
func (a *app) progress(work *backup.Options) *progress {
	file, isFile := a.err.Writer.(*os.File)
	if !isFile || !isatty.IsTerminal(file.Fd()) {
		return &progress{}
	}
	p := &progress{progressbar.NewOptions64(1,
		progressbar.OptionSetWriter(file), progressbar.OptionClearOnFinish(), progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetPredictTime(false), progressbar.OptionThrottle(50*time.Millisecond),
	)}
	work.Progress = p.show
	return p
}

// show draws what backup tells. That a bar cannot be drawn stops no backup.
func (p *progress) show(now backup.Progress) {
	p.bar.Describe(clean(now.What))
	p.bar.ChangeMax64(max(now.Total, 1))
	_ = p.bar.Set64(min(now.Done, max(now.Total-1, 0))) // at its end it would take itself for finished
}

// end removes the bar.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Clear()
		_ = p.bar.Exit()
	}
}
