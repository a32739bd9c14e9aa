package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/plugin-api/link"
)

func (a *app) audit() *cobra.Command {
	return a.group(&cobra.Command{Use: "audit", Short: "Read and verify what was done, by whom"},
		a.auditTail(), a.auditSearch(), a.auditVerify(), a.auditExport())
}

func (a *app) auditTail() *cobra.Command {
	var follow bool
	var lines uint
	cmd := &cobra.Command{
		Use: "tail", Short: "Show what was done last",
		Long: "Shows what was done last, and with -f what is done from now on. With -o json, one JSON value a line.",
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is done from now on")
	cmd.Flags().UintVar(&lines, "lines", 20, "the newest `n` rows, at most 1000")
	return a.asking(cmd, func(c *conversation) error {
		var last int64
		newest, err := c.Audit(c.cmd.Context(), audit.Filter{Limit: int(max(lines, 1))})
		if err != nil {
			return err
		}
		if len(newest.Items) > 0 {
			last = newest.Items[0].Seq
		}
		for _, row := range slices.Backward(newest.Items[:min(len(newest.Items), int(lines))]) {
			if err := a.printRow(row); err != nil {
				return err
			}
		}
		if !follow {
			return nil
		}
		err = c.TailAudit(c.cmd.Context(), last, a.printRow)
		if c.cmd.Context().Err() != nil {
			return nil // Ctrl-C is how following ends
		}
		return err
	})
}

// printRow prints a row as one line.
func (a *app) printRow(row audit.Row) error {
	line, err := json.Marshal(row)
	if err != nil {
		return fmt.Errorf("encode a row: %w", err)
	}
	text := cleanJSON(string(line))
	if a.format == formatTable {
		text = clean(strings.Join(auditCells(&row), "  "))
	}
	_, err = fmt.Fprintln(a.out, text)
	return err
}

func auditCells(r *audit.Row) []string {
	return []string{
		strconv.FormatInt(r.Seq, 10), stamp(r.At), actorOf(r.Actor, r.Via), r.Action, cmp.Or(r.Resource, "-"), string(r.Outcome),
		detailsOf(r.Details),
	}
}

// actorOf names who did it, and through which module.
func actorOf(who link.Principal, via string) string {
	name := cmp.Or(who.Name, who.ID, who.Kind)
	if via != "" {
		return name + " via " + via
	}
	return name
}

// detailsOf leaves out that there are none.
func detailsOf(raw json.RawMessage) string {
	if text := string(raw); text != "{}" {
		return text
	}
	return "-"
}

// filterFlags are those by which rows are chosen.
func filterFlags(cmd *cobra.Command, f *audit.Filter) (from, to *since) {
	from, to = new(since), new(since)
	flags := cmd.Flags()
	flags.StringVar(&f.Actor, "actor", "", "`id or name` of who did it")
	flags.StringVar(&f.Via, "via", "", "the `module` that asked on the actor's behalf")
	flags.StringVar(&f.Action, "action", "", "the `action`, or what it begins with: role.grant, user.")
	flags.StringVar(&f.Resource, "resource", "", "what it was done to: `role/editor`")
	flags.StringVar(&f.RequestID, "request", "", "the `id` of the request that led to it")
	outcome := &choice{value: (*string)(&f.Outcome), of: []string{"allowed", "denied", "done", "failed", "unknown"}}
	flags.Var(outcome, "outcome", "how it ended")
	outcome.complete(cmd, "outcome")
	flags.Var(from, "since", "leave out what is older: 10m, 2d, 2026-01-31T09:00:00Z")
	flags.Var(to, "until", "leave out what is newer")
	return from, to
}

func (a *app) auditSearch() *cobra.Command {
	var f audit.Filter
	cmd := &cobra.Command{
		Use: "search", Short: "Find what was done, the newest first",
		Example: "  platformd audit search --action role. --since 7d\n" +
			"  platformd audit search --actor ada@example.com --outcome denied",
	}
	from, to := filterFlags(cmd, &f)
	cmd.Flags().IntVar(&f.Limit, "limit", 100, "how `many` rows at most, up to 1000")
	cmd.Flags().Int64Var(&f.AfterSeq, "after", 0, "go on after the row with this `number`")
	cmd.Flags().BoolVar(&f.OldestFirst, "oldest", false, "the oldest first")
	return a.asking(cmd, func(c *conversation) error {
		f.From, f.To = from.time, to.time
		page, err := c.Audit(c.cmd.Context(), f)
		switch {
		case err != nil:
			return err
		case a.format == formatJSON:
			return a.out.json(page.Items)
		}
		rows := [][]string{{"SEQ", "TIME", "ACTOR", "ACTION", "RESOURCE", "OUTCOME", "DETAILS"}}
		for i := range page.Items {
			rows = append(rows, auditCells(&page.Items[i]))
		}
		if page.Next != "" {
			fmt.Fprintln(a.err, "There are more: --after "+clean(page.Next))
		}
		return a.out.table(rows)
	})
}

func (a *app) auditVerify() *cobra.Command {
	var expect string
	cmd := &cobra.Command{
		Use: "verify", Short: "Find out whether the audit log was changed afterwards",
		Long: "Reads the whole audit log and finds the first row that was edited, removed or added afterwards: then it ends with 7.\n" +
			"Whoever holds the database can make all of it anew. Keep the head that this prints somewhere else, and give it\n" +
			"the next time: --expect SEQ:HASH.",
	}
	cmd.Flags().StringVar(&expect, "expect", "", "what the head was the last time: `SEQ:HASH`")
	return a.asking(cmd, func(c *conversation) error {
		want, err := expected(expect)
		if err != nil {
			return err
		}
		report, err := c.VerifyAudit(c.cmd.Context(), want)
		if err != nil {
			return err
		}
		if err := a.showReport(&report); err != nil || report.OK {
			return err
		}
		return &failure{
			code: ExitVerification, err: fmt.Errorf("the audit log was changed at row %d: %s", report.Broken.Seq, report.Broken.Why),
			fix: "find out who could write to the database, and compare with a backup",
		}
	})
}

func expected(text string) (audit.Expect, error) {
	if text == "" {
		return audit.Expect{}, nil
	}
	return audit.ParseMark(text)
}

func (a *app) showReport(r *audit.Report) error {
	if a.format == formatJSON {
		return a.out.json(r)
	}
	result := "nothing was changed"
	if r.Broken != nil {
		result = fmt.Sprintf("broken at row %d: %s", r.Broken.Seq, r.Broken.Why)
	}
	return a.out.fields([][2]string{
		{"result", result}, {"rows", strconv.FormatInt(r.Rows, 10)}, {"first", strconv.FormatInt(r.FirstSeq, 10)},
		{"last", strconv.FormatInt(r.LastSeq, 10)}, {"head", r.Head.String()},
	})
}

func (a *app) auditExport() *cobra.Command {
	var f audit.Filter
	cmd := &cobra.Command{
		Use: "export", Short: "Print rows as JSON, one a line, the oldest first",
		Example: "  platformd audit export --since 30d > audit.jsonl",
	}
	from, to := filterFlags(cmd, &f)
	cmd.Flags().IntVar(&f.Limit, "limit", 0, "how `many` rows at most; 0 = all")
	return a.action(cmd, a.converse(func(c *conversation) error {
		f.From, f.To, f.OldestFirst = from.time, to.time, true
		return c.ExportAudit(c.cmd.Context(), &lines{to: a.out}, f)
	}))
}

// lines cleans JSON a line at a time, so that no character is cut in two. Of an honest log that changes nothing.
type lines struct {
	to   io.Writer
	rest []byte
}

// Write implements io.Writer. What follows the last line end waits for its own.
func (l *lines) Write(data []byte) (int, error) {
	l.rest = append(l.rest, data...)
	end := bytes.LastIndexByte(l.rest, '\n') + 1
	if end > 0 {
		if _, err := io.WriteString(l.to, cleanJSON(string(l.rest[:end]))); err != nil {
			return 0, err
		}
		l.rest = append(l.rest[:0], l.rest[end:]...)
	}
	return len(data), nil
}
