package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/bus"
)

func (a *app) events() *cobra.Command {
	return a.group(&cobra.Command{Use: "events", Short: "Look at the events that modules exchange", Aliases: []string{"event"}},
		a.eventTypes(), a.eventTail(), a.eventPublish(), a.eventPending())
}

func (a *app) eventTypes() *cobra.Command {
	cmd := &cobra.Command{Use: "types", Short: "List what may be published, by whom, and who wants it"}
	return a.asking(cmd, func(c *conversation) error {
		types, err := c.EventTypes(c.cmd.Context())
		switch {
		case err != nil:
			return err
		case a.format == formatJSON:
			return a.out.json(types)
		}
		rows := [][]string{{"TYPE", "VERSION", "MODULE", "SUBSCRIPTIONS"}}
		for _, t := range types {
			rows = append(rows, []string{t.Type, strconv.Itoa(t.Version), t.Module, cmp.Or(strings.Join(t.Subscribers, " "), "-")})
		}
		return a.out.table(rows)
	})
}

func (a *app) eventTail() *cobra.Command {
	cmd := &cobra.Command{
		Use: "tail [TYPE]", Short: "Show what is published from now on",
		Long: "Shows what is published from now on, of one TYPE (blog.post.created), of those that begin alike (blog.*), or of all.\n" +
			"With -o json, one CloudEvent a line.",
		Args: cobra.MaximumNArgs(1),
	}
	return a.asking(cmd, func(c *conversation) error {
		pattern := ""
		if len(c.args) > 0 {
			pattern = c.args[0]
		}
		err := c.TailEvents(c.cmd.Context(), pattern, a.printEvent)
		if c.cmd.Context().Err() != nil {
			return nil // Ctrl-C is how it ends
		}
		return err
	})
}

// printEvent prints an event as one line.
func (a *app) printEvent(e bus.Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode an event: %w", err)
	}
	text := cleanJSON(string(line))
	if a.format == formatTable {
		text = clean(strings.Join([]string{
			stamp(e.Time), e.Type, e.Source, cmp.Or(e.Subject, "-"), e.ID, dataOf(e),
		}, "  "))
	}
	_, err = fmt.Fprintln(a.out, text)
	return err
}

// shownData is how much of an event's data a line shows, in bytes.
const shownData = 200

func dataOf(e bus.Event) string {
	if len(e.Data) > shownData {
		return string(e.Data[:shownData]) + "…"
	}
	return cmp.Or(string(e.Data), "-")
}

func (a *app) eventPublish() *cobra.Command {
	var e admin.NewEvent
	var data string
	cmd := one("publish TYPE", "Publish an event, in the platform's name")
	cmd.Example = `  platformd events publish blog.post.created --data '{"id":"1"}'` + "\n" +
		"  platformd events publish blog.post.created --data @post.json --key 1"
	flags := cmd.Flags()
	flags.StringVar(&data, "data", "", "the event's `data`: JSON, @FILE, or @- for the standard input")
	flags.StringVar(&e.Subject, "subject", "", "`what` it happened to")
	flags.StringVar(&e.Key, "key", "", "puts events with the same `key` into an order")
	flags.StringVar(&e.ID, "id", "", "the event's `id`, to publish one again")
	flags.IntVar(&e.Version, "version", 1, "`version` of the data")
	return a.asking(cmd, func(c *conversation) (err error) {
		e.Type = c.args[0]
		if e.Data, err = readData(c.cmd.InOrStdin(), data); err != nil {
			return err
		}
		made, err := c.PublishEvent(c.cmd.Context(), e)
		if err != nil {
			return err
		}
		fmt.Fprintln(a.err, "published "+clean(made.ID))
		if a.format == formatJSON {
			return a.out.json(made)
		}
		return nil
	})
}

// readData returns what --data says, which must be JSON.
func readData(in io.Reader, data string) (read []byte, err error) {
	file, isFile := strings.CutPrefix(data, "@")
	switch {
	case data == "":
		return nil, nil
	case !isFile:
		read = []byte(data)
	case file == "-":
		read, err = io.ReadAll(io.LimitReader(in, bus.MaxData+1))
	default:
		read, err = readFile(file)
	}
	if err != nil {
		return nil, fmt.Errorf("read the event's data: %w", err)
	}
	if len(read) > bus.MaxData {
		return nil, fmt.Errorf("the event's data has more than %d bytes (fix: send less, and where the rest is)", bus.MaxData)
	}
	if !json.Valid(read) {
		return nil, errors.New(`the event's data is not JSON (fix: write --data '{"name":"value"}')`)
	}
	return read, nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%w (fix: name a file that can be read)", err)
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, bus.MaxData+1))
}

func (a *app) eventPending() *cobra.Command {
	cmd := &cobra.Command{Use: "pending", Short: "Show what waits: in subscriptions, in outboxes, and as dead letters"}
	return a.asking(cmd, func(c *conversation) error {
		pending, err := c.PendingEvents(c.cmd.Context())
		switch {
		case err != nil:
			return err
		case a.format == formatJSON:
			return a.out.json(pending)
		}
		return a.showPending(&pending)
	})
}

func (a *app) showPending(p *admin.Pending) error {
	rows := [][]string{{"WHERE", "READY", "RETRY LATER", "IN FLIGHT", "OLDEST"}}
	for _, s := range p.Subscriptions {
		oldest := "-"
		if !s.Oldest.IsZero() {
			oldest = time.Since(s.Oldest).Round(time.Second).String()
		}
		rows = append(rows, []string{
			s.Subscription, strconv.FormatInt(s.Ready, 10), strconv.FormatInt(s.Waiting, 10), strconv.FormatInt(s.InFlight, 10), oldest,
		})
	}
	for _, o := range p.Outboxes {
		rows = append(rows, []string{"outbox of " + o.Module, strconv.FormatInt(o.Waiting, 10), "-", "-", "-"})
	}
	rows = append(rows, []string{"dead letters", strconv.FormatInt(p.DeadLetters, 10), "-", "-", "-"})
	return a.out.table(rows)
}
