package logs

import (
	"bytes"
	"sync"
)

const (
	// MaxLine is the length in bytes that a line may have, its mark included.
	MaxLine = 64 << 10
	// CutMark ends a line that was longer.
	CutMark = " …[cut at 64 KiB]"
)

// LineWriter is an io.WriteCloser that calls a func for each line. A line that is longer than MaxLine is handed on as soon
// as that shows, cut and marked; the rest of it is dropped, so that a flood without line ends takes no memory. Write never
// fails. It is safe for concurrent use; the func is called by one goroutine at a time, and must not keep the line.
type LineWriter struct {
	emit func(line []byte)

	mu      sync.Mutex
	partial []byte
	cutting bool // until the end of the line
}

// NewLineWriter returns a writer that calls emit with each line, without its line end.
func NewLineWriter(emit func(line []byte)) *LineWriter { return &LineWriter{emit: emit} }

// Write implements io.Writer.
func (w *LineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for rest := p; len(rest) > 0; {
		part, after, ended := bytes.Cut(rest, []byte("\n"))
		w.add(part)
		if ended {
			w.end()
		}
		rest = after
	}
	return len(p), nil
}

// Close hands on the last line if it has no line end. Writing may go on after it.
func (w *LineWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.partial) > 0 || w.cutting {
		w.end()
	}
	return nil
}

func (w *LineWriter) add(part []byte) {
	if w.cutting {
		return
	}
	room := MaxLine - len(w.partial)
	if len(part) <= room {
		w.partial = append(w.partial, part...)
		return
	}
	w.partial = append(w.partial, part[:room]...)
	w.emit(append(w.partial[:MaxLine-len(CutMark)], CutMark...))
	w.partial, w.cutting = w.partial[:0], true
}

func (w *LineWriter) end() {
	if !w.cutting {
		w.emit(bytes.TrimSuffix(w.partial, []byte("\r")))
	}
	w.partial, w.cutting = w.partial[:0], false
}
