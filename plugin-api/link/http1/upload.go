package http1

import (
	"strconv"
	"sync"
	"time"

	"github.com/platformd/platformd/plugin-api/link/internal/hop"
)

const (
	// continuePatience is how long a module may take to ask for a body whose client waits to be asked; then it is sent
	// anyhow, because some servers never ask (RFC 9110, section 10.1.1).
	continuePatience = time.Second
	// lastPatience is how long the rest of a body may take to go out once the module has answered. A module that read all
	// of it answers a moment before the goroutine that sent it is done.
	lastPatience = 50 * time.Millisecond
	// chunkFrame is the room for a chunk's size line: up to 16 digits and CRLF.
	chunkFrame = 18
)

// upload sends a large body from the client to the module, beside the exchange that reads the answer.
type upload struct {
	x    *exchange
	conn *conn

	asked  chan struct{} // closed when the body is wanted
	quit   chan struct{} // closed when it no longer is
	done   chan struct{} // closed when run has returned
	asking sync.Once

	complete bool // the module has it all; valid after done
}

func startUpload(x *exchange) *upload {
	u := &upload{
		x: x, conn: x.conn,
		asked: make(chan struct{}), quit: make(chan struct{}), done: make(chan struct{}),
	}
	if !hop.ExpectsContinue(x.r) {
		u.ask()
	}
	go u.run()
	return u
}

// ask lets the body go. It may be called more than once.
func (u *upload) ask() { u.asking.Do(func() { close(u.asked) }) }

func (u *upload) run() {
	defer close(u.done)
	if !u.wanted() {
		return
	}
	var err error
	if u.x.framing == hop.Chunked {
		err = u.sendChunked()
	} else {
		err = u.sendSized()
	}
	u.complete = err == nil
	if u.x.watch.BodyFault() != nil {
		_ = u.conn.Close() // the module must not wait for what will never come
	}
}

func (u *upload) wanted() bool {
	timer := time.NewTimer(continuePatience)
	defer timer.Stop()
	select {
	case <-u.asked:
		return true
	case <-timer.C:
		u.ask() // ourselves
		return true
	case <-u.quit:
		return false
	}
}

func (u *upload) sendSized() error {
	buf := hop.GetBuffer()
	defer hop.PutBuffer(buf)
	for left := u.x.r.ContentLength; ; {
		n, err := u.x.watch.Read(u.x.r.Body, buf[:])
		if left -= int64(n); left < 0 {
			return u.x.watch.BadBody(hop.ErrLongBody)
		}
		if n > 0 {
			if _, err := u.conn.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return u.x.watch.EndOfBody(err, left == 0)
		}
	}
}

func (u *upload) sendChunked() error {
	buf := hop.GetBuffer()
	defer hop.PutBuffer(buf)
	for {
		n, err := u.x.watch.Read(u.x.r.Body, buf[chunkFrame:len(buf)-2])
		if n > 0 {
			if err := u.sendChunk(buf, n); err != nil {
				return err
			}
		}
		if err != nil {
			if err := u.x.watch.EndOfBody(err, true); err != nil {
				return err
			}
			return u.sendTrailers()
		}
	}
}

// sendChunk frames the n bytes at chunkFrame where they are, so that each chunk is one write.
func (u *upload) sendChunk(buf *[hop.BufferSize]byte, n int) error {
	size := strconv.AppendInt(make([]byte, 0, chunkFrame), int64(n), 16)
	size = append(size, '\r', '\n')
	start := chunkFrame - len(size)
	copy(buf[start:], size)
	end := chunkFrame + n
	copy(buf[end:], "\r\n")
	_, err := u.conn.Write(buf[start : end+2])
	return err
}

func (u *upload) sendTrailers() error {
	last := []byte("0\r\n")
	for name, values := range u.x.r.Trailer {
		if !hop.TrailerToModule(name) || !hop.ValidField(name, values) {
			continue
		}
		for _, value := range values {
			last = appendLine(last, name, value)
		}
	}
	_, err := u.conn.Write(append(last, '\r', '\n'))
	return err
}

// settle ends the upload, once: u.done is closed when it returns. If the module has answered, a body that is just about to
// be complete may become so, and both connections live on.
func (u *upload) settle(answered bool) {
	if closed(u.quit) {
		return
	}
	if answered && closed(u.asked) {
		u.waitBriefly()
	}
	close(u.quit)
	if !closed(u.done) {
		_ = u.conn.Close()
		u.unblock(answered)
	}
	<-u.done
	if !u.complete {
		u.x.watch.GiveUpBody()
	}
}

// unblock makes run return, whose connection to the module is closed. A client that sends on does so by itself, within a
// moment. One that does not must be given up, and net/http then ends the request's context.
func (u *upload) unblock(waited bool) {
	if !waited {
		u.waitBriefly()
	}
	u.x.watch.GiveUpBody()
}

func (u *upload) waitBriefly() {
	if closed(u.done) {
		return
	}
	timer := time.NewTimer(lastPatience)
	defer timer.Stop()
	select {
	case <-u.done:
	case <-timer.C:
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
