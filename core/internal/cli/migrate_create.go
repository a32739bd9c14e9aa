package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/sqlfiles"
	"github.com/platformd/platformd/plugin-api/manifest"
)

func (a *app) migrateCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create TITLE",
		Short: "Begin a module's next migration",
		Long: "Makes the two files of a module's next migration, if it has `migrations: sql`; of one with `migrations: go`\n" +
			"it prints what to add to its code.",
		Example: "  platformd migrate create --module blog add_tags",
		Args:    cobra.ExactArgs(1),
	}
	var module string
	a.moduleFlag(cmd, &module, true)
	return a.action(cmd, func(cmd *cobra.Command, args []string) error {
		settings, err := a.settings(cmd, nil)
		if err != nil {
			return err
		}
		title, err := titleOf(args[0])
		if err != nil {
			return err
		}
		dir, err := moduleDir(settings.Modules.Dir, module)
		if err != nil {
			return err
		}
		m, err := manifest.Load(filepath.Join(dir, "module.yaml"))
		switch {
		case err != nil:
			return err
		case m.Migrations == manifest.MigrationsSQL:
			return a.createFiles(dir, title)
		case m.Migrations == manifest.MigrationsGo:
			return a.createGo(cmd, module, title)
		}
		return withFix(fmt.Errorf("module %s has no migrations", module),
			"write `migrations: sql` or `migrations: go` into its module.yaml")
	})
}

// moduleDir is the folder of a module, whose name is that of its folder.
func moduleDir(modules, name string) (string, error) {
	entries, err := os.ReadDir(modules)
	if err != nil {
		return "", fmt.Errorf("look for the modules: %w (fix: set modules.dir)", err)
	}
	var names []string
	for _, entry := range entries {
		if _, err := os.Stat(filepath.Join(modules, entry.Name(), "module.yaml")); err == nil {
			names = append(names, entry.Name())
		}
	}
	if !slices.Contains(names, name) {
		return "", admin.UnknownModule(name, names, "platformd migrate status")
	}
	return filepath.Join(modules, name), nil
}

var badInTitle = regexp.MustCompile(`[^a-z0-9_]+`)

// titleOf makes a file's name of a title: "Add tags" is add_tags.
func titleOf(text string) (string, error) {
	title := strings.Trim(badInTitle.ReplaceAllString(strings.ToLower(text), "_"), "_")
	if title == "" || len(title) > 80 {
		return "", &failure{
			err: fmt.Errorf("%q makes no name", text), code: ExitUsage, fix: "use 1 to 80 letters, digits and _, for example add_tags",
		}
	}
	return title, nil
}

func (a *app) createFiles(dir, title string) error {
	number, err := sqlfiles.Next(dir)
	if err != nil {
		return err
	}
	for _, direction := range []string{"up", "down"} {
		path := filepath.Join(dir, sqlfiles.Folder, fmt.Sprintf("%04d_%s.%s.sql", number, title, direction))
		what := "The change. Never edit this file once it has been applied anywhere: add another."
		if direction == "down" {
			what = "What undoes it. Remove this file if nothing can."
		}
		if err := writeNew(path, "-- "+what+"\n"); err != nil {
			return err
		}
		fmt.Fprintln(a.out, path)
	}
	return nil
}

// writeNew never overwrites a file.
func writeNew(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a module's files are for everybody to read
		return fmt.Errorf("make the folder of migrations: %w", err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // as above
	if err != nil {
		return fmt.Errorf("make the migration: %w", err)
	}
	_, err = file.WriteString(content)
	return errors.Join(err, file.Close())
}

// createGo needs the module's ids, which are in its binary.
func (a *app) createGo(cmd *cobra.Command, module, title string) error {
	return a.migrating(cmd, func(ctx context.Context, m admin.Migrations) error {
		all, err := m.Status(ctx, module)
		if err != nil {
			return err
		}
		if len(all[0].Steps) == 0 && all[0].Problem != "" {
			return withFix(fmt.Errorf("%s does not tell its migrations: %s", module, all[0].Problem), all[0].Fix)
		}
		fmt.Fprintf(a.err, "Add this at the end of db.Migrations(…) in %s, and never change it once it has been applied anywhere:\n\n",
			clean(module))
		_, err = fmt.Fprintf(a.out, `db.Migration{
	ID:   "%04d_%s",
	Up:   func(tx *gorm.DB) error { return tx.Exec("").Error },
	Down: func(tx *gorm.DB) error { return tx.Exec("").Error },
},
`, nextID(all[0].Steps), title)
		return err
	})
}

// nextID is one above the highest number that an id begins with.
func nextID(steps []admin.Migration) int {
	next := 1
	for _, step := range steps {
		digits, _, _ := strings.Cut(step.ID, "_")
		if number, err := strconv.Atoi(digits); err == nil {
			next = max(next, number+1)
		}
	}
	return next
}
