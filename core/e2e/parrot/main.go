// Command parrot is a module that answers calls of every kind with who calls, on whose behalf, and what it heard. The end-to-end
// suites install it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/plugintest/echo"
)

// variant is which binary this is: see services.
var variant string

func main() {
	p := &parrot{}
	services, err := p.services(variant)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	pluginapi.Serve(pluginapi.Module{
		Init:     func(_ context.Context, core *pluginapi.Core) error { p.core = core; return nil },
		Services: services,
	})
}

type parrot struct{ core *pluginapi.Core }

func (p *parrot) answer(ctx context.Context, call *echo.Call) error {
	who := pluginapi.PrincipalFrom(ctx)
	heard := []string{fmt.Sprintf("%s for %s %s", pluginapi.CallerFrom(ctx), who.Kind, who.Name)}
	for {
		text, err := call.Receive()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if heard, err = p.hear(ctx, heard, text); err != nil {
			return err
		}
	}
	if call.Method != echo.Count && call.Method != echo.Chat {
		return call.Send(strings.Join(heard, ", "))
	}
	for _, text := range heard {
		if err := call.Send(text); err != nil {
			return err
		}
	}
	return nil
}

// hear does what it is told to, or keeps it in mind.
func (p *parrot) hear(ctx context.Context, heard []string, text string) ([]string, error) {
	switch text {
	case "fail":
		return nil, status.Error(codes.NotFound, "as the caller wants")
	case "ticket": // a module that gives away by what it may ask the core
		return append(heard, link.FromContext(ctx).Ticket), nil
	case "may":
		allowed, err := p.core.Authz.Check(ctx, "parrot.word.hear")
		return append(heard, fmt.Sprint("may: ", allowed)), err
	}
	return append(heard, text), nil
}
