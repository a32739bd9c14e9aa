package cli

import (
	"errors"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/config"
)

// defaultConfig is read if it is there; a file that --config names must be there.
const defaultConfig = "config.yaml"

// app is one invocation: what its flags say, and where it writes.
type app struct {
	deps    Deps
	out     *screen
	err     *screen
	config  string
	dataDir string
	format  string // of the commands that print data: formatTable or formatJSON
	working bool   // the arguments were fine: what fails from here on is no mistake in usage
}

func newApp(deps Deps) *app {
	if deps.Out == nil {
		deps.Out = os.Stdout
	}
	if deps.Err == nil {
		deps.Err = os.Stderr
	}
	if deps.Env == nil {
		deps.Env = os.Environ()
	}
	return &app{deps: deps, out: newScreen(deps.Out, deps.Env), err: newScreen(deps.Err, deps.Env), format: formatTable}
}

func (a *app) root() *cobra.Command {
	root := a.group(&cobra.Command{
		Use:   "platformd",
		Short: "Runs independent modules as one product",
		Long: "platformd runs independent modules as one product: each in a process of its own, all behind one gateway.\n\n" +
			"Settings: a flag wins over the environment (PLATFORMD_SERVER_LISTEN), which wins over config.yaml, which wins\n" +
			"over the default. Exit codes: 0 ok, 1 error, 2 usage, 3 config, 4 unhealthy, 5 not found, 6 auth,\n" +
			"7 verification failed, 8 already running.",
		Version:       a.build().Version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}, a.start(), a.stop(), a.reload(), a.status(), a.doctor(), a.logs(), a.version(), a.validate(), a.module(), a.migrate(),
		a.db(), a.user(), a.role(), a.groupCommand(), a.permission(), a.authz(), a.token(), a.audit(), a.keys(), a.setupLink(),
		a.events(), a.dlq(), a.newCommand(), a.pack(), a.keygen(), a.sign(), a.trust(), a.verify(),
		a.install(), a.upgrade(), a.plan(), a.uninstall(), a.rollback(), a.configCommand())
	root.SetOut(a.deps.Out)
	root.SetErr(a.deps.Err)
	root.SetHelpCommand(help())
	flags := root.PersistentFlags()
	flags.StringVar(&a.config, "config", defaultConfig, "`file` with the settings")
	flags.StringVar(&a.dataDir, "data-dir", "", "`folder` for what must not be lost (default: data.dir of the settings)")
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		a.group(completion)
	}
	return root
}

// group returns a command that only holds others.
func (a *app) group(cmd *cobra.Command, children ...*cobra.Command) *cobra.Command {
	cmd.Args = unknownCommand
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(children...)
	return cmd
}

// help is cobra's, which takes an unknown command for a question like any other.
func help() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil {
				return err
			}
			if err := unknownCommand(about, rest); err != nil {
				return err
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

// action gives cmd its work.
func (a *app) action(cmd *cobra.Command, work func(cmd *cobra.Command, args []string) error) *cobra.Command {
	if cmd.Args == nil {
		cmd.Args = cobra.NoArgs
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a.working = true
		return work(cmd, args)
	}
	return cmd
}

// printer is action for a command that prints data, as --output says.
func (a *app) printer(cmd *cobra.Command, work func(cmd *cobra.Command, args []string) error) *cobra.Command {
	format := &choice{value: &a.format, of: []string{formatTable, formatJSON}}
	cmd.Flags().VarP(format, "output", "o", "how to print: table or json")
	format.complete(cmd, "output")
	return a.action(cmd, work)
}

// settings loads the configuration. edit, which may be nil, applies the command's own flags.
func (a *app) settings(cmd *cobra.Command, edit func(*config.Config)) (*config.Config, error) {
	return config.Load(config.Options{
		Path:     a.config,
		Explicit: cmd.Flags().Changed("config"),
		Env:      a.deps.Env,
		Flags: func(c *config.Config) {
			if cmd.Flags().Changed("data-dir") {
				c.Data.Dir = a.dataDir
			}
			if edit != nil {
				edit(c)
			}
		},
	})
}

// configFile is the settings' file, "" if there is none.
func (a *app) configFile() string {
	if _, err := os.Stat(a.config); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return a.config
}

// daemonDir is the data directory of the daemon that the command is about. With --data-dir alone nothing else needs to be
// known, so that a broken config.yaml does not keep one from stopping a daemon.
func (a *app) daemonDir(cmd *cobra.Command) (string, error) {
	if cmd.Flags().Changed("data-dir") && !cmd.Flags().Changed("config") {
		return a.dataDir, nil
	}
	settings, err := a.settings(cmd, nil)
	if err != nil {
		return "", err
	}
	return settings.Data.Dir, nil
}

// asking is printer for a command that asks the running daemon.
func (a *app) asking(cmd *cobra.Command, work func(c *conversation) error) *cobra.Command {
	return a.printer(cmd, a.converse(work))
}

// conversation is what a command that asks the daemon works with.
type conversation struct {
	*admin.Client
	cmd     *cobra.Command
	args    []string
	dataDir string
}

func (a *app) converse(work func(c *conversation) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		dir, err := a.daemonDir(cmd)
		if err != nil {
			return err
		}
		err = work(&conversation{Client: admin.Dial(admin.SocketPath(dir)), cmd: cmd, args: args, dataDir: dir})
		return explain(err, cmd, dir)
	}
}
