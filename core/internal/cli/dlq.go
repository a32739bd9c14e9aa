package cli

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
)

func (a *app) dlq() *cobra.Command {
	return a.group(&cobra.Command{
		Use: "dlq", Short: "Look after dead letters: events that a module could not handle", Aliases: []string{"dead-letters"},
	}, a.dlqLs(), a.dlqShow(), a.dlqRetry(), a.dlqPurge())
}

// letterFlags are those by which dead letters are chosen.
func letterFlags(cmd *cobra.Command, f *admin.LetterFilter) {
	flags := cmd.Flags()
	flags.StringVar(&f.Subscription, "subscription", "", "the `subscription` in which they died: notify:blog.*")
	flags.StringVar(&f.Module, "module", "", "the `module` that subscribed")
	flags.StringVar(&f.Type, "type", "", "the `type` of the events")
	flags.StringVar(&f.Reason, "reason", "", "`why` they died: attempts, dropped, version, abandoned, malformed_event, refused")
}

func (a *app) dlqLs() *cobra.Command {
	var f admin.LetterFilter
	var limit int
	var after string
	cmd := &cobra.Command{Use: "ls", Short: "List dead letters, those that died last first", Aliases: []string{"list"}}
	letterFlags(cmd, &f)
	cmd.Flags().IntVar(&limit, "limit", 100, "how `many` at most, up to 499")
	cmd.Flags().StringVar(&after, "after", "", "go on after the letter with this `id`")
	return a.asking(cmd, func(c *conversation) error {
		page, err := c.DeadLetters(c.cmd.Context(), f, limit, after)
		switch {
		case err != nil:
			return err
		case a.format == formatJSON:
			return a.out.json(page.Items)
		}
		rows := [][]string{{"ID", "DIED", "SUBSCRIPTION", "TYPE", "REASON", "ATTEMPTS", "LAST ERROR"}}
		for i := range page.Items {
			l := &page.Items[i]
			rows = append(rows, []string{
				l.ID, stamp(l.At), l.Subscription, l.Event.Type, l.Reason, strconv.Itoa(l.Attempts), firstLine(l.Error),
			})
		}
		if page.Next != "" {
			fmt.Fprintln(a.err, "There are more: --after "+clean(page.Next))
		}
		return a.out.table(rows)
	})
}

// firstLine keeps a table's rows to a line each.
func firstLine(text string) string {
	const most = 80
	for i, r := range text {
		if r == '\n' || i >= most {
			return text[:i] + "…"
		}
	}
	return text
}

func (a *app) dlqShow() *cobra.Command {
	return a.asking(one("show ID", "Show one dead letter, with its event"), func(c *conversation) error {
		l, err := c.DeadLetter(c.cmd.Context(), c.args[0])
		switch {
		case err != nil:
			return err
		case a.format == formatJSON:
			return a.out.json(l)
		}
		return a.out.fields([][2]string{
			{"id", l.ID}, {"subscription", l.Subscription}, {"died", stamp(l.At)}, {"reason", l.Reason},
			{"attempts", strconv.Itoa(l.Attempts)}, {"last error", l.Error}, {"event", l.Event.ID}, {"source", l.Event.Source},
			{"type", l.Event.Type}, {"version", strconv.Itoa(l.Event.Version)}, {"subject", l.Event.Subject}, {"key", l.Event.Key},
			{"time", stamp(l.Event.Time)}, {"content type", l.Event.ContentType}, {"trace", l.Event.TraceParent},
			{"data", string(l.Event.Data)},
		})
	})
}

// letters is a command about the dead letters that its arguments or flags name.
func (a *app) letters(
	cmd *cobra.Command, did string, work func(*conversation, admin.LetterFilter) (int64, error),
) *cobra.Command {
	var f admin.LetterFilter
	letterFlags(cmd, &f)
	cmd.Flags().BoolVar(&f.All, "all", false, "all that there are")
	return a.asking(cmd, func(c *conversation) error {
		f.IDs = c.args
		named := len(f.IDs) > 0 || f.Subscription+f.Module+f.Type+f.Reason != ""
		if named == f.All {
			return WithExit(ExitUsage, errors.New("say which dead letters are meant (fix: give ids or a filter, or --all)"))
		}
		count, err := work(c, f)
		if err != nil {
			return err
		}
		if a.format == formatJSON {
			return a.out.json(admin.Count{Count: count})
		}
		fmt.Fprintf(a.err, "%s %d\n", did, count)
		return nil
	})
}

func (a *app) dlqRetry() *cobra.Command {
	cmd := &cobra.Command{
		Use: "retry [ID…]", Short: "Have dead letters delivered again, to the subscription in which each died",
		Args:    cobra.ArbitraryArgs,
		Example: "  platformd dlq retry 0b9d…\n  platformd dlq retry --module notify\n  platformd dlq retry --all",
	}
	return a.letters(cmd, "delivered again:", func(c *conversation, f admin.LetterFilter) (int64, error) {
		return c.RetryDeadLetters(c.cmd.Context(), f)
	})
}

func (a *app) dlqPurge() *cobra.Command {
	cmd := &cobra.Command{Use: "purge [ID…]", Short: "Throw dead letters away", Args: cobra.ArbitraryArgs}
	return a.letters(cmd, "thrown away:", func(c *conversation, f admin.LetterFilter) (int64, error) {
		return c.PurgeDeadLetters(c.cmd.Context(), f)
	})
}
