package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/sqlfiles"
	"github.com/platformd/platformd/plugin-api/manifest"
)

func (a *app) validate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate PATH",
		Short: "Check a module's manifest",
		Long: "Checks a module.yaml, or the one in a module's folder: everything that is wrong, with its line and what to do.\n" +
			"Exits with 3 if something is.",
		Args: cobra.ExactArgs(1),
	}
	return a.printer(cmd, func(_ *cobra.Command, args []string) error {
		file := args[0]
		if info, err := os.Stat(file); err == nil && info.IsDir() {
			file = filepath.Join(file, "module.yaml")
		}
		m, err := manifest.Load(file)
		if a.format == formatJSON {
			return errors.Join(a.out.json(newVerdict(file, err)), whole(err))
		}
		if err == nil && m.Migrations == manifest.MigrationsSQL {
			err = sqlfiles.Check(filepath.Dir(file))
		}
		if err != nil {
			return whole(err)
		}
		_, err = fmt.Fprintf(a.out, "OK %s: %s\n", clean(file), summary(m))
		return err
	})
}

// verdict is what `validate -o json` prints.
type verdict struct {
	File   string  `json:"file"`
	Valid  bool    `json:"valid"`
	Errors []fault `json:"errors"`
}

type fault struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Field   string `json:"field"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Fix     string `json:"fix"`
}

func newVerdict(file string, err error) verdict {
	v := verdict{File: file, Valid: err == nil, Errors: []fault{}}
	var errs manifest.Errors
	errors.As(err, &errs)
	for _, e := range errs {
		v.Errors = append(v.Errors, fault{File: e.File, Line: e.Line, Field: e.Field, Code: e.Code, Message: e.Message, Fix: e.Fix})
	}
	return v
}

// whole makes err print everything that is wrong, where its own message stops after a screenful.
func whole(err error) error {
	var errs manifest.Errors
	if !errors.As(err, &errs) {
		return err
	}
	lines := make([]string, len(errs))
	for i, e := range errs {
		lines[i] = e.Error()
	}
	return WithExit(ExitConfig, errors.New(strings.Join(lines, "\n")))
}

func summary(m *manifest.Manifest) string {
	text := fmt.Sprintf("%s %s, %s, %s", m.Name, m.Version, count(len(m.Routes), "route"), count(len(m.Permissions), "permission"))
	if required := constraints(m.Requires.Modules); required != "" {
		text += ", requires " + required
	}
	return text
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
