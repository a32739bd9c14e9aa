package plugintest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/wire"
	"github.com/platformd/platformd/plugin-api/wire/guard"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

// calls passes what the module calls on to those who stand in for other modules, as the core passes it on to the real ones.
type calls struct {
	manifest *manifest.Manifest
	callers  *callers
	server   *grpc.Server
	served   chan struct{}
	others   map[string]*other
}

// other stands in for another module.
type other struct {
	module wire.Server
	conn   *grpc.ClientConn
	secret []byte
}

// newCalls serves on socket. dir is for the sockets of the others.
func newCalls(ctx context.Context, c *core, socket string, o Options) (*calls, error) {
	p := &calls{manifest: c.manifest, callers: c.callers, served: make(chan struct{}), others: map[string]*other{}}
	p.server = grpc.NewServer(grpc.UnknownServiceHandler(p.pass), grpc.ForceServerCodecV2(untouched{}),
		grpc.MaxRecvMsgSize(wire.MaxMessage))
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	go func() { defer close(p.served); _ = p.server.Serve(listener) }() // it fails only by being stopped
	for name, register := range o.Provide {
		one, err := newOther(ctx, name, filepath.Join(filepath.Dir(socket), fmt.Sprintf("o%d", len(p.others))), register)
		if err != nil {
			p.close()
			return nil, fmt.Errorf("Options.Provide[%q]: %w", name, err)
		}
		p.others[name] = one
	}
	return p, nil
}

func newOther(ctx context.Context, name, socket string, register func(*grpc.Server)) (*other, error) {
	one := &other{secret: []byte(name)}
	var err error
	if one.module, err = pluginapi.NewServer(pluginapi.Module{Services: register}, hclog.NewNullLogger(), nil); err != nil {
		return nil, err
	}
	if _, err := one.module.Init(ctx, &modulev1.InitRequest{Name: name, ServicesSocket: socket, DataSecret: one.secret}); err != nil {
		return nil, err
	}
	one.conn, err = dialUnix(socket)
	return one, err
}

func dialUnix(socket string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:module", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(wire.MaxMessage)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}))
}

func (p *calls) close() {
	if p == nil {
		return
	}
	p.server.Stop()
	<-p.served
	for _, one := range p.others {
		_ = one.conn.Close()
		_, _ = one.module.Stop(context.Background(), &modulev1.StopRequest{}) // it has nothing of an author that could fail
	}
}

// pass is the handler of every method.
func (p *calls) pass(_ any, in grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(in)
	said, _ := metadata.FromIncomingContext(in.Context())
	to := strings.Join(said.Get(wire.MetadataModule), ",")
	if err := guard.Call(p.manifest, to, method); err != nil {
		in.SetTrailer(metadata.Pairs(wire.MetadataCore, "1"))
		return err
	}
	callee := p.others[to]
	if callee == nil {
		in.SetTrailer(metadata.Pairs(wire.MetadataCore, "1"))
		return status.Errorf(codes.Unavailable, "module %s is not installed (fix: name it in plugintest.Options.Provide)", to)
	}
	who := caller{principal: link.Principal{Kind: link.KindModule, ID: p.manifest.Name, Name: p.manifest.Name}}
	if shown := said.Get(wire.MetadataTicket); len(shown) > 0 {
		found, ok := p.callers.byTicket(shown[0])
		if !ok || len(shown) > 1 {
			return status.Error(codes.Unauthenticated, "the ticket is not valid")
		}
		who = found
	}
	ctx, cancel := context.WithCancel(in.Context())
	defer cancel()
	ctx, err := introduced(metadata.NewOutgoingContext(ctx, said), introduction{caller: p.manifest.Name, who: who, secret: callee.secret})
	if err != nil {
		return err
	}
	out, err := callee.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method,
		grpc.ForceCodecV2(untouched{}))
	if err != nil {
		return err
	}
	return relay(in, out)
}

// introduction is what the core says of a call.
type introduction struct {
	caller string // a module
	who    caller // on whose behalf
	secret []byte // the callee's
}

// introduced replaces whatever a context says in the core's name.
func introduced(ctx context.Context, i introduction) (context.Context, error) {
	said, _ := metadata.FromOutgoingContext(ctx) // a copy
	if said == nil {
		said = metadata.MD{}
	}
	for name := range said {
		if strings.HasPrefix(name, wire.MetadataPrefix) {
			delete(said, name)
		}
	}
	principal, err := wire.PrincipalText(i.who.principal)
	if err != nil {
		return nil, err
	}
	said.Set(wire.MetadataSecret, base64.RawURLEncoding.EncodeToString(i.secret))
	said.Set(wire.MetadataCaller, i.caller)
	said.Set(wire.MetadataPrincipal, principal)
	if i.who.ticket != "" {
		said.Set(wire.MetadataTicket, i.who.ticket)
	}
	return metadata.NewOutgoingContext(ctx, said), nil
}

// relay copies messages both ways until the callee has ended the call.
func relay(in grpc.ServerStream, out grpc.ClientStream) error {
	go func() { // ends with in's context at the latest, which ends when the handler has returned
		for {
			message := &message{}
			if in.RecvMsg(message) != nil {
				_ = out.CloseSend() // the callee sees the end, or that the call is canceled, which ctx tells
				return
			}
			if out.SendMsg(message) != nil {
				return // RecvMsg tells why
			}
		}
	}()
	header, err := out.Header()
	if err == nil && header != nil {
		err = in.SendHeader(header)
	}
	for err == nil {
		message := &message{}
		if err = out.RecvMsg(message); err == nil {
			err = in.SendMsg(message)
		}
	}
	in.SetTrailer(out.Trailer())
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// message is one that nobody reads on its way.
type message struct{ bytes []byte }

// untouched is the codec of messages.
type untouched struct{}

// Marshal implements encoding.CodecV2.
func (untouched) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*message)
	if !ok {
		return nil, fmt.Errorf("a %T is not passed on", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(m.bytes)}, nil
}

// Unmarshal implements encoding.CodecV2.
func (untouched) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*message)
	if !ok {
		return fmt.Errorf("a %T is not passed on", v)
	}
	m.bytes = data.Materialize()
	return nil
}

// Name implements encoding.CodecV2.
func (untouched) Name() string { return "proto" }
