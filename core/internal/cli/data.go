package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/backup"
)

func (a *app) moduleData() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "data NAME",
		Short: "List what the platform keeps of a module, installed or not",
		Long: "Lists what the platform keeps of a module: tables, files, queues, dead letters, cached values, grants and tokens.\n" +
			"The module need not be installed any more, nor the platform run.",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeModule,
	}
	return a.printer(cmd, func(cmd *cobra.Command, args []string) error {
		return a.anyhow(cmd, func(ctx context.Context, at admin.Offline) error {
			all, err := at.Data.Holdings(ctx, args[0])
			switch {
			case err != nil:
				return err
			case a.format == formatJSON:
				return a.out.json(append([]admin.Holding{}, all...))
			}
			return a.listHoldings(a.out, all)
		})
	})
}

func (a *app) listHoldings(to *screen, all []admin.Holding) error {
	rows := [][]string{{"KIND", "NAME", "COUNT", "BYTES", "PURGE", "NOTE"}}
	for _, h := range all {
		bytes, fate := "-", "removes it"
		if h.Bytes > 0 {
			bytes = strconv.FormatInt(h.Bytes, 10)
		}
		if h.Stays {
			fate = "leaves it"
		}
		rows = append(rows, []string{h.Kind, h.Name, strconv.FormatInt(h.Count, 10), bytes, fate, cmp.Or(firstLine(h.Note), "-")})
	}
	return to.table(rows)
}

// purging is what a purge was asked to do.
type purging struct {
	module, file string
	noExport     bool
	yes          bool
}

func (a *app) modulePurge() *cobra.Command {
	var p purging
	cmd := &cobra.Command{
		Use:   "purge NAME",
		Short: "Remove all that the platform keeps of a module that is disabled or gone",
		Long: "Lists what the platform keeps of a module, writes it to a file, and removes it: database, files, queues, dead\n" +
			"letters, cached values, grants and tokens. The module must be disabled, or gone. The audit log and the logs stay.\n\n" +
			"What was begun cannot be stopped: if platformd ends meanwhile, the next one carries it on.",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeModule,
		Example: "  platformd module purge blog\n  platformd module purge blog --export /backups/blog.tar.gz -y",
	}
	cmd.Flags().StringVar(&p.file, "export", "", "`file` to write what there is to (default: NAME-data-TIME.tar.gz)")
	cmd.Flags().BoolVar(&p.noExport, "no-export", false, "lose what there is, without a file of it")
	cmd.Flags().BoolVarP(&p.yes, "yes", "y", false, "do not ask")
	cmd.MarkFlagsMutuallyExclusive("export", "no-export")
	return a.action(cmd, func(cmd *cobra.Command, args []string) error {
		p.module = args[0]
		return a.anyhow(cmd, func(ctx context.Context, at admin.Offline) error { return a.purge(ctx, cmd, at.Data, p) })
	})
}

func (a *app) purge(ctx context.Context, cmd *cobra.Command, data admin.Data, p purging) error {
	all, err := data.Holdings(ctx, p.module)
	if err != nil {
		return err
	}
	if err := a.listHoldings(a.err, all); err != nil {
		return err
	}
	question := "Remove all of this that does not stay, for good?"
	if !p.noExport {
		p.file = cmp.Or(p.file, fmt.Sprintf("%s-data-%s.tar.gz", p.module, time.Now().UTC().Format("20060102T150405Z")))
		question = fmt.Sprintf("Write it to %s, and remove all of it that does not stay?", clean(p.file))
	}
	if err := a.confirm(cmd, question, p.yes); err != nil {
		return err
	}
	if !p.noExport {
		if err := writeExport(ctx, data, p); err != nil {
			return withFix(fmt.Errorf("nothing was removed: %w", err), exportFix(err))
		}
		fmt.Fprintf(a.err, "exported to %s\n", clean(p.file))
	}
	bar := a.bar()
	err = data.Purge(ctx, p.module, func(s admin.PurgeStep) { bar.show("removing "+s.Step, int64(s.Number-1), int64(s.Of)) })
	bar.end()
	if err != nil {
		return err
	}
	for _, h := range all {
		if !h.Stays {
			fmt.Fprintf(a.out, "removed %s %s\n", clean(h.Kind), clean(h.Name))
		}
	}
	return nil
}

// exportFix adds the way out for who does not want the data.
func exportFix(err error) string {
	_, fix := message(err)
	return fix + "; or purge without a file of the data: --no-export"
}

// writeExport leaves a file that is whole, on the disk and has been read back, or none.
func writeExport(ctx context.Context, data admin.Data, p purging) (err error) {
	if _, err := os.Lstat(p.file); err == nil {
		return fmt.Errorf("%s is there already (fix: name another file with --export)", p.file)
	}
	file, err := os.OpenFile(p.file+".partial", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("make the export: %w (fix: name a file in a folder that this user can write)", err)
	}
	defer func() {
		if err = errors.Join(err, file.Close()); err != nil {
			_ = os.Remove(file.Name()) // it is of no use
		}
	}()
	if err := data.Export(ctx, p.module, file); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("write the export: %w (fix: see that the disk has room)", err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := backup.CheckExport(file); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), p.file); err != nil {
		return fmt.Errorf("finish the export: %w", err)
	}
	folder, err := os.Open(filepath.Dir(p.file))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
