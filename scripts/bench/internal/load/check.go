package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/coder/websocket"

	"github.com/platformd/platformd/scripts/bench/internal/handler"
	"github.com/platformd/platformd/scripts/bench/internal/scenario"
)

// checkPatience bounds one exchange of a check.
const checkPatience = 10 * time.Second

// Check makes one exchange of the scenario and looks at the whole answer: a contestant that answers wrongly must not be measured.
// It leaves nothing behind.
func Check(ctx context.Context, s *scenario.Scenario, to Target) error {
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	var err error
	switch {
	case s.Subject == scenario.Data && s.Writes:
		err = to.Posts().CheckCreate(ctx)
	case s.Subject == scenario.Data:
		err = to.Posts().CheckList(ctx)
	case s.Subject == scenario.Events, s.Subject == scenario.Calls:
		err = checkOrder(ctx, s, to)
	case s.Kind == scenario.WebSocket:
		err = checkEcho(ctx, s, to.Address)
	default:
		err = checkAnswer(ctx, s, to)
	}
	if err != nil {
		return fmt.Errorf("%s http://%s%s: %w", s.Method, to.Address, to.path(s), err)
	}
	return nil
}

func checkAnswer(ctx context.Context, s *scenario.Scenario, to Target) error {
	body := bytes.NewReader(bytes.Repeat([]byte("x"), s.BodySize))
	req, err := http.NewRequestWithContext(ctx, s.Method, "http://"+to.Address+to.path(s), body)
	if err != nil {
		return err
	}
	if to.Token != "" {
		req.Header.Set("Authorization", "Bearer "+to.Token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return fmt.Errorf("read the answer: %w", err)
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("answered %s: %.200s", res.Status, got)
	case !bytes.Equal(got, want(s)):
		return fmt.Errorf("answered %d bytes, not the %d that were expected: %.40q", len(got), len(want(s)), got)
	case s.Kind == scenario.HTTP && res.ContentLength != int64(len(got)):
		return errors.New("answered without Content-Length")
	}
	return nil
}

func want(s *scenario.Scenario) []byte {
	switch {
	case s.Kind == scenario.SSE:
		var events bytes.Buffer
		for i := range handler.Events {
			fmt.Fprintf(&events, "data: %d\n\n", i)
		}
		return events.Bytes()
	case s.BodySize > 0:
		return []byte(strconv.Itoa(s.BodySize))
	case s.Path == handler.Prefix+"/mib":
		return bytes.Repeat([]byte("m"), handler.MiB)
	}
	return handler.Get()
}

func checkEcho(ctx context.Context, s *scenario.Scenario, address string) error {
	conn, _, err := websocket.Dial(ctx, "ws://"+address+s.Path, nil) //nolint:bodyclose // it has closed it
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseNow() }()
	for i := range 3 {
		sent := []byte("message " + strconv.Itoa(i))
		if err := conn.Write(ctx, websocket.MessageBinary, sent); err != nil {
			return err
		}
		_, got, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, sent) {
			return fmt.Errorf("sent %q and got %q back", sent, got)
		}
	}
	return nil
}
