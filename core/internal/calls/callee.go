package calls

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/passthrough"
)

const (
	// outlierFailures in a row have callers prefer other instances for outlierPause.
	outlierFailures = 5
	outlierPause    = 10 * time.Second
)

// callee is an instance that can be called, and the connection to it.
type callee struct {
	inst     *instance.Instance
	secret   string
	plain    *attempt // of calls that take a place of the instance's
	client   atomic.Pointer[passthrough.Client]
	failures atomic.Int32 // in a row

	mu   sync.Mutex // guards over, and is held while dialling
	over bool
}

func newCallee(inst *instance.Instance) *callee {
	k := &callee{inst: inst, secret: inst.ServicesSecret()}
	k.plain = &attempt{to: k}
	return k
}

// current returns the connection if there is one that takes calls.
func (k *callee) current() *passthrough.Client {
	if client := k.client.Load(); client != nil && client.Usable() {
		return client
	}
	return nil
}

// connect returns the connection, a new one if need be: a module may end one in good order.
func (k *callee) connect(ctx context.Context) (*passthrough.Client, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over {
		return nil, errors.New("the process has ended")
	}
	if client := k.current(); client != nil {
		return client, nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := k.inst.DialServices(ctx)
	if err != nil {
		return nil, err
	}
	client, err := passthrough.NewClient(conn)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to the module's services: %w", err), conn.Close())
	}
	k.client.Store(client)
	go func() { _ = client.Run() }() // ends with the process; each call is told why
	return client, nil
}

func (k *callee) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.over = true
	if client := k.client.Load(); client != nil {
		client.Close()
	}
}

// judge takes account of how a call ended, so that an instance that fails alone is called less.
func (k *callee) judge(blame verdict) {
	switch blame {
	case well:
		if k.failures.Load() != 0 {
			k.failures.Store(0)
		}
	case ill:
		if k.failures.Add(1) >= outlierFailures {
			k.failures.Store(0)
			k.inst.Shun(outlierPause)
		}
	}
}

// alive tells whether the process has not ended.
func (k *callee) alive() bool {
	select {
	case <-k.inst.Done():
		return false
	default:
		return true
	}
}

// attempt is one try of a call at one instance.
type attempt struct {
	to   *callee
	stop func() bool // of what ends a stream without end when the instance drains; nil for others, which take a place
}

func (a *attempt) release() {
	if a.stop == nil {
		a.to.inst.Release()
		return
	}
	a.stop()
	a.to.inst.ReleaseStream()
}
