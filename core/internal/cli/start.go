package cli

import (
	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/config"
)

func (a *app) start() *cobra.Command {
	var listen string
	var attach []string
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Run the platform in the foreground",
		Long: "Runs the platform in the foreground until it is told to stop (`platformd stop`, SIGTERM or Ctrl-C; a second\n" +
			"signal ends it without draining). The banner appears when it is ready.",
	}
	cmd.Flags().StringVar(&listen, "listen", "", "`address` of the HTTP server (default: server.listen of the settings)")
	cmd.Flags().StringSliceVar(&attach, "attach", nil,
		"`module` that a debugger will hold: nothing ends it for not answering (then: dlv attach PID)")
	return a.action(cmd, func(cmd *cobra.Command, _ []string) error {
		settings, err := a.settings(cmd, func(c *config.Config) {
			if cmd.Flags().Changed("listen") {
				c.Server.Listen = listen
			}
		})
		if err != nil {
			return err
		}
		return a.deps.Run(cmd.Context(), StartOptions{
			Config: settings, ConfigFile: a.configFile(), Out: a.deps.Out, Version: a.build().Version, Attach: attach,
		})
	})
}
