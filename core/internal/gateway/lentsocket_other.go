//go:build !linux

package gateway

import (
	"context"
	"net"
)

// offerSocket offers none: there is nothing here that we have tried to make clients take what they are sent.
func offerSocket(ctx context.Context, _ net.Conn) context.Context { return ctx }
