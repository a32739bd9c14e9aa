package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/platformd/platformd/core/internal/backup"
	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/bus/deadletter"
	"github.com/platformd/platformd/core/internal/storage"
)

// export writes what a purge would remove, as far as it can be of use: the database, files, waiting events, dead letters, and
// what people and tokens may do. Databases and events are copied into a folder first: who reads the export may be slow.
func (d *daemon) export(ctx context.Context, module string, to io.Writer) (err error) {
	stage := filepath.Join(d.dataDir, "exporting") // one at a time; what a killed daemon left goes
	if err := errors.Join(os.RemoveAll(stage), os.Mkdir(stage, 0o700)); err != nil {
		return fmt.Errorf("make a folder for the export: %w (fix: see that the disk has room)", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(stage)) }()
	all, err := d.holdings(ctx, module)
	if err != nil {
		return err
	}
	o := backup.Options{DataDir: d.dataDir, Database: d.config.Database, Version: d.options.Version, Log: d.log.Named("export")}
	database, err := backup.Module(ctx, o, d.storage, filepath.Join(stage, module))
	if err != nil {
		return err
	}
	events, err := d.stageEvents(ctx, module, filepath.Join(stage, "events.ndjson"))
	if err != nil {
		return err
	}
	e := backup.NewExport(to, module, d.options.Version)
	if err := e.JSON("holdings.json", all); err != nil {
		return err
	}
	for _, name := range []string{database, events} {
		if err := addFile(e, stage, name, name); err != nil {
			return err
		}
	}
	if err := d.exportRecords(ctx, module, e); err != nil {
		return err
	}
	if err := d.exportFiles(module, e); err != nil {
		return err
	}
	return e.Close()
}

// waitingEvent is a line of events.ndjson.
type waitingEvent struct {
	Subscription string    `json:"subscription"`
	Event        bus.Event `json:"event"`
}

func (d *daemon) stageEvents(ctx context.Context, module, path string) (name string, err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	lines := json.NewEncoder(file)
	return filepath.Base(path), d.bus.Peek(ctx, module, func(subscription string, e bus.Event) error {
		return lines.Encode(waitingEvent{subscription, e})
	})
}

// addFile adds a file below root, which may be a module's to write: os.Root follows no link out of it.
func addFile(e *backup.Export, root, name, as string) error {
	if name == "" {
		return nil
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer dir.Close()
	file, err := dir.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	return e.File(as, file)
}

func (d *daemon) exportRecords(ctx context.Context, module string, e *backup.Export) error {
	letters, err := d.allLetters(ctx, module)
	if err != nil {
		return err
	}
	bound, err := d.authz.Bindings(ctx, module)
	if err != nil {
		return err
	}
	tokens, err := d.auth.Naming(ctx, module)
	if err != nil {
		return err
	}
	access := map[string]any{"bindings": bound, "tokens": tokens}
	return errors.Join(e.JSON("dead-letters.json", letters), e.JSON("access.json", access))
}

func (d *daemon) allLetters(ctx context.Context, module string) (all []bus.DeadLetter, err error) {
	for after := ""; ; after = all[len(all)-1].ID {
		page, err := d.letters.List(ctx, deadletter.Filter{Owner: module}, deadletter.MaxPage, after)
		if err != nil {
			return nil, err
		}
		if all = append(all, page...); len(page) < deadletter.MaxPage {
			return all, nil
		}
	}
}

// exportFiles adds what the module kept beside its database, which is in the export already. Nothing but regular files is.
func (d *daemon) exportFiles(module string, e *backup.Export) error {
	folder := d.dataFolder(module)
	database := filepath.Base(storage.ModuleFile(d.dataDir, module))
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if err != nil || strings.HasPrefix(name, database) {
			return err
		}
		return addFile(e, folder, name, "files/"+filepath.ToSlash(name))
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("export the files of module %s: %w", module, err)
	}
	return nil
}
