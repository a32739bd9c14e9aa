package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
)

// completionTimeout bounds how long a shell waits for the names that it offers.
const completionTimeout = 2 * time.Second

func (a *app) module() *cobra.Command {
	return a.group(&cobra.Command{Use: "module", Short: "Show the modules of the running platform", Aliases: []string{"modules"}},
		a.moduleLs(), a.moduleShow(), a.moduleRoutes(), a.moduleGraph(), a.moduleCrashes(), a.moduleApprove(),
		a.moduleOrder(admin.OrderStart, "Start a module that was stopped or failed, and wait until it is ready"),
		a.moduleOrder(admin.OrderStop, "Stop a module until it is started again"),
		a.moduleOrder(admin.OrderRestart, "Renew a module's processes, from what is in its folder by now, without a failed request"),
		a.moduleOrder(admin.OrderEnable, "Let a module run that was disabled"),
		a.moduleOrder(admin.OrderDisable, "Stop a module, and those that require it, also after the next start"),
		a.moduleData(), a.modulePurge())
}

func (a *app) moduleLs() *cobra.Command {
	cmd := &cobra.Command{Use: "ls", Short: "List the modules", Aliases: []string{"list"}}
	return a.asking(cmd, func(c *conversation) error {
		modules, err := c.Modules(c.cmd.Context())
		if err != nil {
			return err
		}
		packaged, err := c.packaged(modules)
		switch {
		case err != nil:
			return err
		case a.format == formatJSON:
			return a.out.json(packaged)
		}
		return a.listPackaged(packaged)
	})
}

func (a *app) moduleShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "show NAME",
		Short:             "Show one module, in whatever state it is",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeModule,
	}
	var quiet bool
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print the process ids alone")
	return a.asking(cmd, func(c *conversation) error {
		m, err := c.Module(c.cmd.Context(), c.args[0])
		switch {
		case err != nil:
			return err
		case quiet:
			for _, process := range m.Instances {
				fmt.Fprintln(a.out, process.PID)
			}
			return nil
		}
		packaged, err := c.packaged([]admin.Module{m})
		switch {
		case err != nil:
			return err
		case a.format == formatJSON:
			return a.out.json(packaged[0])
		}
		return a.showModule(packaged[0])
	})
}

func (a *app) showModule(p packagedModule) error {
	m := p.Module
	err := a.out.fields([][2]string{
		{"module", strings.TrimSpace(m.Name + " " + m.Version)},
		{"description", m.Description},
		{"state", m.State + " for " + age(m.Since)},
		{"reason", m.Reason},
		{"fix", m.Fix},
		{"problem", m.Problem},
		{"not taken", notTakenOf(m)},
		{"degraded", strings.Join(m.Degraded, "; ")},
		{"required", yesNo(m.Required)},
		{"pid", pids(m.Instances)},
		{"instances", instances(m)},
		{"transport", transports(m.Instances)},
		{"restarts", strconv.Itoa(m.Restarts)},
		{"started in", started(m.StartMillis)},
		{"requires", constraints(m.Requires)},
		{"optional", constraints(m.Optional)},
		{"provides", strings.Join(m.Provides, ", ")},
		{"consumes", strings.Join(m.Consumes, ", ")},
		{"folder", m.Dir},
		{"executable", m.Executable},
		{"sha256", m.SHA256},
		{"signature", p.signature()},
		{"grants", p.grants()},
		{"not approved yet", p.pending()},
		{"before", p.before()},
		{"isolation", isolationOf(m)},
	})
	if err != nil {
		return err
	}
	if err := a.listPermissions(m.Permissions); err != nil {
		return err
	}
	if len(m.Routes) == 0 {
		return nil
	}
	fmt.Fprintln(a.out)
	return a.listRoutes([]admin.Module{m})
}

// notTakenOf says which version does not run, and why.
func notTakenOf(m admin.Module) string {
	if m.NotTaken == nil {
		return ""
	}
	text := cmp.Or(m.NotTaken.Version, "what is in the folder") + ", " + age(m.NotTaken.At) + " ago: " + m.NotTaken.Reason
	if m.NotTaken.Fix != "" {
		text += " (fix: " + m.NotTaken.Fix + ")"
	}
	return text
}

// isolationOf adds to the level why it is not the best.
func isolationOf(m admin.Module) string {
	if m.Isolation == "" {
		return ""
	}
	return strings.Join(append([]string{m.Isolation.String()}, m.IsolationNotes...), "; ")
}

func transports(instances []admin.Process) string {
	var all []string
	for _, instance := range instances {
		all = append(all, instance.Transport)
	}
	return strings.Join(slices.Compact(all), ", ")
}

// instances tells how many of the wanted processes take requests, where that is more than one.
func instances(m admin.Module) string {
	if m.Wanted <= 1 {
		return ""
	}
	return fmt.Sprintf("%d of %d", len(m.Instances), m.Wanted)
}

func started(millis int64) string {
	if millis == 0 {
		return ""
	}
	return (time.Duration(millis) * time.Millisecond).String()
}

// constraints writes {billing: ^0.2} as "billing ^0.2".
func constraints(modules map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		all = append(all, name+" "+modules[name])
	}
	return strings.Join(all, ", ")
}

func (a *app) listPermissions(permissions []admin.Permission) error {
	if len(permissions) == 0 {
		return nil
	}
	rows := [][]string{{"PERMISSION", "ROLES", "DESCRIPTION"}}
	for _, p := range permissions {
		rows = append(rows, []string{p.Name, cmp.Or(strings.Join(p.Roles, ","), "-"), p.Description})
	}
	fmt.Fprintln(a.out)
	return a.out.table(rows)
}

func (a *app) moduleRoutes() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "routes [NAME]",
		Short:             "List the HTTP routes of all modules, or of one",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeModule,
	}
	return a.asking(cmd, func(c *conversation) error {
		modules, err := c.some(c.args)
		switch {
		case err != nil:
			return err
		case a.format == formatJSON:
			return a.out.json(flatten(modules))
		}
		return a.listRoutes(modules)
	})
}

// some returns the module that args name, or all.
func (c *conversation) some(args []string) ([]admin.Module, error) {
	if len(args) == 0 {
		return c.Modules(c.cmd.Context())
	}
	m, err := c.Module(c.cmd.Context(), args[0])
	return []admin.Module{m}, err
}

// moduleRoute is a route as `module routes -o json` prints it.
type moduleRoute struct {
	Module string `json:"module"`
	admin.Route
}

func flatten(modules []admin.Module) []moduleRoute {
	routes := []moduleRoute{}
	for _, m := range modules {
		for _, r := range m.Routes {
			routes = append(routes, moduleRoute{Module: m.Name, Route: r})
		}
	}
	return routes
}

func (a *app) listRoutes(modules []admin.Module) error {
	rows := [][]string{{"MODULE", "ROUTE", "METHOD", "PATH", "ACCESS", "STREAM"}}
	for _, r := range flatten(modules) {
		rows = append(rows, []string{r.Module, r.ID, r.Method, r.Path, cmp.Or(r.Permission, r.Access), r.Stream})
	}
	return a.out.table(rows)
}

// completeModule offers the names of modules to the shell, if a daemon runs.
func (a *app) completeModule(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	var names []cobra.Completion
	_ = a.converse(func(c *conversation) error { // no daemon, no names
		modules, err := c.Modules(ctx)
		for _, m := range modules {
			names = append(names, cobra.CompletionWithDesc(clean(m.Name), clean(m.Description)))
		}
		return err
	})(cmd, args)
	return names, cobra.ShellCompDirectiveNoFileComp
}
