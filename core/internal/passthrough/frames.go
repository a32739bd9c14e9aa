package passthrough

import "golang.org/x/net/http2"

func (c *conn) pong(f *http2.PingFrame) error {
	if !c.flood.allow() {
		return errFlood
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.fr.WritePing(true, f.Data)
	c.dirty.add(c)
	return c.checkBacklog()
}

// checkBacklog ends the connection of a peer that asks and does not listen; the caller holds mu.
func (c *conn) checkBacklog() error {
	if len(c.pending) > maxBacklog {
		return errBacklog
	}
	return nil
}

func (c *conn) settings(f *http2.SettingsFrame) error {
	if !c.flood.allow() {
		return errFlood
	}
	c.mu.Lock()
	err := f.ForeachSetting(c.setting)
	if err == nil {
		_ = c.fr.WriteSettingsAck()
		err = c.checkBacklog()
	}
	credits := c.pump()
	c.mu.Unlock()
	credits.give(&c.dirty)
	c.dirty.add(c)
	return err
}

// setting applies one of the peer's settings; mu is held. Its largest frame does not matter: ours are the smallest there are.
func (c *conn) setting(s http2.Setting) error {
	if err := s.Valid(); err != nil {
		return err
	}
	switch s.ID {
	case http2.SettingInitialWindowSize:
		delta := int64(s.Val) - c.initial
		c.initial = int64(s.Val)
		for _, open := range c.streams {
			if open.window += delta; open.window > maxWindow {
				return http2.ConnectionError(http2.ErrCodeFlowControl)
			}
			c.await(open)
		}
	case http2.SettingMaxConcurrentStreams:
		c.peerMax = s.Val
	case http2.SettingHeaderTableSize:
		c.enc.SetMaxDynamicTableSizeLimit(min(s.Val, 4096))
	}
	return nil
}

// maxWindow is the largest window that HTTP/2 knows.
const maxWindow = 1<<31 - 1

func (c *conn) windowUpdate(f *http2.WindowUpdateFrame) error {
	c.mu.Lock()
	if f.StreamID == 0 {
		c.window += int64(f.Increment)
	} else if s := c.streams[f.StreamID]; s != nil {
		if s.window += int64(f.Increment); s.window > maxWindow {
			c.mu.Unlock()
			return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeFlowControl}
		}
		c.await(s)
	} else if c.idle(f.StreamID) {
		c.mu.Unlock()
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if c.window > maxWindow {
		c.mu.Unlock()
		return http2.ConnectionError(http2.ErrCodeFlowControl)
	}
	credits := c.pump()
	wake := len(c.pending) > 0
	c.mu.Unlock()
	credits.give(&c.dirty)
	if wake {
		c.dirty.add(c)
	}
	return nil
}

// idle tells whether nobody has opened the stream yet; mu is held.
func (c *conn) idle(id uint32) bool { return id > c.lastID || id%2 == 0 }

func (c *conn) data(f *http2.DataFrame) error {
	size := int64(f.Length)
	s, err := c.admit(f.StreamID, size, f.StreamEnded())
	if err != nil {
		return err
	}
	if s == nil {
		return c.unwanted()
	}
	payload := f.Data()
	switch {
	case len(payload) > 0:
		c.flood.earn()
	case !f.StreamEnded() && !c.flood.allow():
		return errFlood
	}
	if padding := size - int64(len(payload)); padding > 0 {
		c.mu.Lock()
		s.padding += padding
		c.mu.Unlock()
	}
	s.call.data(s, piece{payload, f.StreamEnded()}, &c.dirty)
	return nil
}

// admit takes account of DATA. The connection's window is refilled at once: what waits, waits in its stream. It returns nil for a
// stream that is over.
func (c *conn) admit(id uint32, size int64, ended bool) (*stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.allowance -= size; c.allowance < 0 {
		return nil, http2.ConnectionError(http2.ErrCodeFlowControl)
	}
	if used := connWindow - c.allowance; used >= connWindow/4 {
		_ = c.fr.WriteWindowUpdate(0, uint32(used)) //nolint:gosec // at most connWindow
		c.allowance = connWindow
		c.dirty.add(c)
	}
	s := c.streams[id]
	switch {
	case s == nil && c.idle(id):
		return nil, http2.ConnectionError(http2.ErrCodeProtocol)
	case s == nil:
		return nil, nil
	case s.gotEnd:
		return nil, http2.StreamError{StreamID: id, Code: http2.ErrCodeStreamClosed}
	}
	if s.allowance -= size; s.allowance < 0 {
		return nil, http2.StreamError{StreamID: id, Code: http2.ErrCodeFlowControl}
	}
	s.gotEnd = ended
	return s, nil
}

func (c *conn) reset(f *http2.RSTStreamFrame) error {
	c.mu.Lock()
	s := c.streams[f.StreamID]
	idle := c.idle(f.StreamID)
	if s != nil {
		c.remove(s)
	}
	c.mu.Unlock()
	if s == nil && idle {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if s == nil {
		return nil
	}
	if c.half.server() && !c.flood.allow() {
		return errFlood
	}
	s.call.reset(s, f.ErrCode, &c.dirty)
	return nil
}
