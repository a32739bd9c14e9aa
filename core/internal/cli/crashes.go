package cli

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
)

// logOfCrash is how many records the table shows of the newest crash; JSON has all that are kept.
const logOfCrash = 20

func (a *app) moduleCrashes() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "crashes NAME",
		Short: "Show how a module's processes ended, and what they logged before",
		Long: "Shows the last 5 crashes and failed launches of a module, the newest first, and the end of the log before the\n" +
			"newest. With -o json, the last 200 records of each.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeModule,
	}
	return a.asking(cmd, func(c *conversation) error {
		crashes, err := c.Crashes(c.cmd.Context(), c.args[0])
		switch {
		case err != nil:
			return err
		case a.format == formatJSON:
			return a.out.json(crashes)
		}
		return a.listCrashes(c.args[0], crashes)
	})
}

func (a *app) listCrashes(module string, crashes []admin.Crash) error {
	if len(crashes) == 0 {
		fmt.Fprintf(a.err, "no crash of %s is on record\n", module)
		return nil
	}
	rows := [][]string{{"WHEN", "PID", "REASON", "PROCESS", "UPTIME", "IN FLIGHT", "RESTARTS"}}
	for _, crash := range crashes {
		rows = append(rows, []string{
			crash.At.Local().Format(time.DateTime), pidOf(crash), brief(crash.Reason), cmp.Or(crash.Exit, "-"),
			(time.Duration(crash.UptimeMillis) * time.Millisecond).String(), strconv.FormatInt(crash.InFlight, 10),
			strconv.Itoa(crash.Restarts),
		})
	}
	if err := a.out.table(rows); err != nil {
		return err
	}
	newest := crashes[0]
	if strings.Contains(newest.Reason, "\n") || brief(newest.Reason) != newest.Reason {
		fmt.Fprintf(a.out, "\nreason of the newest: %s\n", newest.Reason)
	}
	return a.showLog(newest)
}

func (a *app) showLog(crash admin.Crash) error {
	records := crash.Log[max(0, len(crash.Log)-logOfCrash):]
	if len(records) == 0 {
		return nil
	}
	fmt.Fprintf(a.out, "\nlog before the newest, %d of %d records:\n", len(records), len(crash.Log))
	for _, record := range records {
		if _, err := fmt.Fprintln(a.out, record.String()); err != nil {
			return err
		}
	}
	return nil
}

func pidOf(crash admin.Crash) string {
	if crash.PID == 0 {
		return "-"
	}
	return strconv.Itoa(crash.PID)
}
