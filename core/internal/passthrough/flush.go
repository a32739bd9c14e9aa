package passthrough

// flush writes what is pending, without waiting for the peer.
func (c *conn) flush() {
	if !c.begin() {
		return
	}
	for c.take() {
		all, err := c.push()
		if err != nil {
			c.fail(err)
			return
		}
		if !all {
			c.goSlowly()
			return
		}
	}
}

// goSlowly has the rest written on a goroutine of its own, which ends when all is written, or the connection is closed. end waits
// for it, once there is an error and none begins any more.
func (c *conn) goSlowly() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.slow.Go(c.flushSlowly)
	}
}

func (c *conn) flushSlowly() {
	for {
		if err := c.pushSlowly(); err != nil {
			c.fail(err)
			return
		}
		if !c.take() {
			return
		}
	}
}

// take makes the next batch, to which DATA is added that waited for room.
func (c *conn) take() bool {
	c.mu.Lock()
	credits := c.pump()
	more := c.swap()
	c.mu.Unlock()
	var touched dirty
	credits.give(&touched)
	touched.flush()
	return more
}

// dirty is the connections that somebody has appended to and not flushed yet.
type dirty struct{ conns []*conn }

func (d *dirty) add(c *conn) {
	for _, known := range d.conns {
		if known == c {
			return
		}
	}
	d.conns = append(d.conns, c)
}

func (d *dirty) flush() {
	for i, c := range d.conns {
		c.flush()
		d.conns[i] = nil
	}
	d.conns = d.conns[:0]
}
