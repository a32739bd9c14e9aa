package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/config"
)

func (a *app) configCommand() *cobra.Command {
	return a.group(&cobra.Command{Use: "config", Short: "Print and check the settings"},
		a.configPrint(), a.configValidate(), a.configSchema())
}

func (a *app) configPrint() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Print the settings in force, as a config.yaml, without secrets",
		Long: "Prints the settings in force (flags over environment over config.yaml over defaults) as a config.yaml, or as\n" +
			"JSON with -o json. Secrets are replaced by xxxxx.",
	}
	return a.printer(cmd, func(cmd *cobra.Command, _ []string) error {
		settings, err := a.settings(cmd, nil)
		if err != nil {
			return err
		}
		if a.format == formatJSON {
			return a.out.json(settings)
		}
		text, err := settings.YAML()
		if err != nil {
			return err
		}
		_, err = a.out.Write(text)
		return err
	})
}

func (a *app) configValidate() *cobra.Command {
	cmd := &cobra.Command{Use: "validate", Short: "Check config.yaml and the environment"}
	return a.action(cmd, func(cmd *cobra.Command, _ []string) error {
		if _, err := a.settings(cmd, nil); err != nil {
			return err
		}
		if file := a.configFile(); file != "" {
			fmt.Fprintln(a.out, "OK "+clean(file))
		} else {
			fmt.Fprintln(a.out, "OK there is no "+clean(a.config)+": everything has its default, unless the environment says otherwise")
		}
		return nil
	})
}

func (a *app) configSchema() *cobra.Command {
	cmd := &cobra.Command{Use: "schema", Short: "Print the JSON Schema of config.yaml, for editors"}
	return a.action(cmd, func(*cobra.Command, []string) error {
		schema, err := config.Schema()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.out, "%s\n", schema)
		return err
	})
}
