package cli

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/supervisor"
)

// maxReason is how many characters of a reason a table shows.
const maxReason = 80

func (a *app) status() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show whether the platform and its modules are well",
		Long: "Shows the running platform and its modules. Exits with 4 if the platform is not ready, or if a module failed,\n" +
			"is held back or keeps crashing.",
	}
	return a.asking(cmd, func(c *conversation) error {
		info, err := c.Info(c.cmd.Context())
		if err != nil {
			return err
		}
		modules, err := c.Modules(c.cmd.Context())
		if err != nil {
			return err
		}
		if err := a.showStatus(info, modules); err != nil {
			return err
		}
		return unhealthy(info, modules)
	})
}

func (a *app) showStatus(info admin.Info, modules []admin.Module) error {
	if a.format == formatJSON {
		return a.out.json(struct {
			admin.Info
			Modules []admin.Module `json:"modules"`
		}{info, modules})
	}
	err := a.out.fields([][2]string{
		{"platformd", fmt.Sprintf("%s, pid %d, up %s", info.Version, info.PID, age(info.StartedAt))},
		{"ready", yesNo(info.Ready)},
		{"url", info.URL},
		{"config", cmp.Or(info.ConfigFile, "none, everything has its default")},
		{"data", info.DataDir},
		{"database", info.Database},
		{"events", eventsOf(&info)},
		{"cache", info.Cache},
		{"isolation", info.Isolation.String()},
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	if err := a.listModules(modules); err != nil || len(info.Calls) == 0 {
		return err
	}
	fmt.Fprintln(a.out)
	return a.listCalls(info.Calls)
}

// listCalls shows how modules fare with each other.
func (a *app) listCalls(pairs []admin.CallPair) error {
	rows := [][]string{{"CALLS", "IN PROGRESS", "ENDED", "FAILED", "RETRIES", "BREAKER"}}
	for _, p := range pairs {
		rows = append(rows, []string{
			p.Caller + " → " + p.Callee, strconv.Itoa(p.InProgress), strconv.FormatUint(p.Calls, 10), strconv.FormatUint(p.Failed, 10),
			strconv.FormatUint(p.Retries, 10), p.Breaker,
		})
	}
	return a.out.table(rows)
}

// eventsOf names the event bus, and what it has not got yet.
func eventsOf(info *admin.Info) string {
	if info.OutboxWaiting == 0 {
		return info.Events
	}
	return fmt.Sprintf("%s; %d events wait in outboxes", info.Events, info.OutboxWaiting)
}

// unhealthy names what is not well; nil if everything is.
func unhealthy(info admin.Info, modules []admin.Module) error {
	var bad []string
	fix := ""
	for _, m := range modules {
		if isIll(supervisor.State(m.State)) {
			bad = append(bad, fmt.Sprintf("%s is in state %s", m.Name, m.State))
			fix = cmp.Or(fix, "platformd module show "+m.Name)
		}
	}
	if !info.Ready {
		bad = append([]string{"the platform is not ready"}, bad...)
	}
	if len(bad) == 0 {
		return nil
	}
	fix = cmp.Or(fix, "see why: platformd logs --level warn")
	return &failure{err: errors.New(strings.Join(bad, "; ")), code: ExitUnhealthy, fix: fix}
}

// isIll leaves out what passes by itself, and what somebody wanted.
func isIll(state supervisor.State) bool {
	return state == supervisor.Failed || state == supervisor.Held || state == supervisor.CrashLoop
}

func (a *app) listModules(modules []admin.Module) error {
	rows := [][]string{moduleHeadings()}
	for _, m := range modules {
		rows = append(rows, moduleRow(m))
	}
	return a.out.table(rows)
}

func moduleHeadings() []string {
	return []string{"MODULE", "VERSION", "STATE", "PID", "RESTARTS", "SINCE", "REASON"}
}

func moduleRow(m admin.Module) []string {
	return []string{m.Name, m.Version, m.State, pids(m.Instances), strconv.Itoa(m.Restarts), age(m.Since), brief(whatAils(m))}
}

// whatAils is why a module is not ready or, if it is, what of it does not work.
func whatAils(m admin.Module) string {
	ailments := m.Degraded
	if m.NotTaken != nil {
		ailments = append([]string{"not taken: " + notTakenOf(m)}, ailments...)
	}
	if m.Problem != "" {
		ailments = append([]string{m.Problem}, ailments...)
	}
	return cmp.Or(m.Reason, strings.Join(ailments, "; "))
}

// brief is as much of a reason as a table has room for; `module show` has the rest.
func brief(reason string) string {
	line, rest, _ := strings.Cut(reason, "\n")
	if runes := []rune(line); len(runes) > maxReason {
		return string(runes[:maxReason]) + "…"
	}
	if rest != "" {
		return line + " …"
	}
	return line
}

func pids(instances []admin.Process) string {
	all := make([]string, len(instances))
	for i, p := range instances {
		all[i] = strconv.Itoa(p.PID)
	}
	return cmp.Or(strings.Join(all, ","), "-")
}

// age is how long ago t was, in the unit that matters; "-" for no time at all.
func age(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := max(0, time.Since(t))
	switch {
	case d < time.Minute:
		return d.Truncate(time.Second).String()
	case d < time.Hour:
		return strings.TrimSuffix(d.Truncate(time.Minute).String(), "0s")
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Truncate(time.Hour).String(), "0m0s")
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}
