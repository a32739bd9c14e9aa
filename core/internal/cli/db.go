package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/backup"
)

func (a *app) db() *cobra.Command {
	return a.group(&cobra.Command{
		Use:   "db",
		Short: "Back the platform's data up, and restore it",
	}, a.dbBackup(), a.dbRestore())
}

func (a *app) dbBackup() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "backup -o FILE",
		Short: "Write all data of the platform to one file",
		Long: "Writes the data of platformd and of all modules to one file, which is as secret as they are. The platform may be\n" +
			"running. On PostgreSQL this needs pg_dump of the server's version, or a newer one.\n\n" +
			"Files that modules keep beside their database are not part of it.",
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "`file` to write, which is replaced when the backup is whole")
	_ = cmd.MarkFlagRequired("output") // it fails only if there is no such flag
	return a.action(cmd, func(cmd *cobra.Command, _ []string) error {
		options, err := a.backupOptions(cmd)
		if err != nil {
			return err
		}
		began := time.Now()
		progress := a.progress(&options)
		report, err := backup.Create(cmd.Context(), options, file)
		progress.end()
		if err != nil {
			return err
		}
		return a.showBackup(report, time.Since(began))
	})
}

func (a *app) dbRestore() *cobra.Command {
	var replace bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make the data of a platform that does not run what it was when FILE was written",
		Long: "Restores what `platformd db backup` wrote. The platform must not be running; FILE is checked before anything\n" +
			"changes. Where there is data already, --replace moves it aside; on PostgreSQL the database must be empty.\n\n" +
			"Who could write FILE decides who may do what on the platform: restore your own backups only.",
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().BoolVar(&replace, "replace", false, "move the data that is there aside (sqlite)")
	return a.action(cmd, func(cmd *cobra.Command, args []string) (err error) {
		options, err := a.backupOptions(cmd)
		if err != nil {
			return err
		}
		if err := checkOwner(options.DataDir, "platformd db restore …"); err != nil {
			return err
		}
		lock, err := a.deps.Lock(options.DataDir)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, lock.Close()) }()
		began := time.Now()
		progress := a.progress(&options)
		report, err := backup.Restore(cmd.Context(), options, args[0], replace)
		progress.end()
		if err != nil {
			return err
		}
		return a.showBackup(report, time.Since(began))
	})
}

func (a *app) backupOptions(cmd *cobra.Command) (backup.Options, error) {
	settings, err := a.settings(cmd, nil)
	if err != nil {
		return backup.Options{}, err
	}
	return backup.Options{DataDir: settings.Data.Dir, Database: settings.Database, Version: a.build().Version}, nil
}

// checkOwner keeps the root that runs command from leaving files that the user who runs the platform cannot open.
func checkOwner(dataDir, command string) error {
	info, err := os.Stat(dataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the data directory: %w (fix: run as the user that owns it)", err)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return withFix(fmt.Errorf("the data directory %s belongs to another user, whose files these must be", dataDir),
			"run as its owner: sudo -u '#"+strconv.Itoa(int(stat.Uid))+"' "+command)
	}
	return nil
}

func (a *app) showBackup(r *backup.Report, took time.Duration) error {
	return a.out.fields([][2]string{
		{"file", r.File},
		{"size", strconv.FormatInt(r.Size, 10) + " bytes"},
		{"made", stamp(r.CreatedAt)},
		{"backend", r.Backend},
		{"modules", cmp.Or(strings.Join(r.Modules, ", "), "none")},
		{"moved aside to", r.Aside},
		{"took", took.Round(time.Millisecond).String()},
	})
}
