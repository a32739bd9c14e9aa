package instance

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"
)

const servicesSocket = "services.sock"

// CheckCaller refuses a connection that is not the module's own process's.
func (i *Instance) CheckCaller(conn *net.UnixConn) error {
	check := checkPeer(i.PID(), i.proc.cell.UID)
	if check == nil {
		return nil
	}
	return check(conn)
}

// DialServices connects to the socket on which the module serves its gRPC services; Init has returned.
func (i *Instance) DialServices(ctx context.Context) (*net.UnixConn, error) {
	var dialer net.Dialer
	dialled, err := dialer.DialContext(ctx, "unix", i.servicesSocket())
	if err != nil {
		return nil, fmt.Errorf("connect to the module's services: %w", err)
	}
	conn, ok := dialled.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("connect to the module's services: got a %T", dialled), dialled.Close())
	}
	if err := i.CheckCaller(conn); err != nil {
		return nil, errors.Join(fmt.Errorf("check who listens on the module's services socket: %w", err), conn.Close())
	}
	return conn, nil
}

// ServicesSecret is what each call to the module's services has to present (wire.MetadataSecret).
func (i *Instance) ServicesSecret() string { return base64.RawURLEncoding.EncodeToString(i.secret) }

func (i *Instance) servicesSocket() string { return filepath.Join(i.dir, servicesSocket) }

// Spec returns what the instance was launched with.
func (i *Instance) Spec() Spec { return i.spec }

// OnDrain has act called, on a goroutine of its own, when the instance begins to stop; stop prevents that.
func (i *Instance) OnDrain(act func()) (stop func() bool) { return context.AfterFunc(i.streams, act) }

// Shun has callers prefer other instances of the module, if there are any, for a while.
func (i *Instance) Shun(d time.Duration) { i.shunned.Store(time.Now().Add(d).UnixNano()) }

func (i *Instance) isShunned() bool {
	until := i.shunned.Load()
	return until != 0 && time.Now().UnixNano() < until
}
