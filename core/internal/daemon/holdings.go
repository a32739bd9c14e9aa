package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/bus/deadletter"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/core/internal/supervisor"
)

// holdings lists what the platform keeps of a module, and what a purge would leave.
func (d *daemon) holdings(ctx context.Context, module string) (all []admin.Holding, err error) {
	for _, list := range []func(context.Context, string) ([]admin.Holding, error){
		d.heldData, d.heldFiles, d.heldEvents, d.heldAccess, d.heldElsewhere, d.heldForGood,
	} {
		some, err := list(ctx, module)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

func (d *daemon) heldData(ctx context.Context, module string) (all []admin.Holding, err error) {
	parts, err := d.storage.Inspect(ctx, module)
	for _, p := range parts {
		all = append(all, admin.Holding{Kind: p.Kind, Name: p.Name, Count: p.Rows, Bytes: p.Bytes, Note: p.Note})
	}
	return all, err
}

// dataFolder is where a module's files lie: on SQLite its database is among them.
func (d *daemon) dataFolder(module string) string {
	return filepath.Dir(storage.ModuleFile(d.dataDir, module))
}

// crashFile is where a module's crashes are on record.
func (d *daemon) crashFile(module string) string {
	return supervisor.CrashFile(filepath.Join(d.dataDir, "crashes"), module)
}

func (d *daemon) heldFiles(_ context.Context, module string) (all []admin.Holding, err error) {
	for kind, path := range map[string]string{"folder": d.dataFolder(module), "crashes": d.crashFile(module)} {
		files, bytes, err := sizeOf(path)
		if err != nil {
			return nil, err
		}
		if files > 0 {
			all = append(all, admin.Holding{Kind: kind, Name: path, Count: files, Bytes: bytes})
		}
	}
	slices.SortFunc(all, func(a, b admin.Holding) int { return strings.Compare(b.Kind, a.Kind) })
	return all, nil
}

// sizeOf counts a file, or a folder with what is in it. What goes away meanwhile does not count.
func sizeOf(path string) (files, bytes int64, err error) {
	err = filepath.WalkDir(path, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil {
			var info fs.FileInfo
			if info, err = entry.Info(); err == nil {
				files++
				if info.Mode().IsRegular() {
					bytes += info.Size()
				}
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("look at %s: %w (fix: run as the user that owns the data directory)", path, err)
	}
	return files, bytes, nil
}

func (d *daemon) heldEvents(ctx context.Context, module string) (all []admin.Holding, err error) {
	pending, err := d.bus.Pending(ctx)
	if err != nil {
		return nil, err
	}
	for id, backlog := range pending {
		if strings.HasPrefix(id, module+":") {
			all = append(all, admin.Holding{Kind: "queue", Name: id, Count: backlog.Ready + backlog.Waiting + backlog.InFlight})
		}
	}
	slices.SortFunc(all, func(a, b admin.Holding) int { return strings.Compare(a.Name, b.Name) })
	letters, err := d.letters.Count(ctx, deadletter.Filter{Owner: module})
	if letters > 0 {
		all = append(all, admin.Holding{Kind: "dead letters", Name: module, Count: letters})
	}
	return all, err
}

func (d *daemon) heldAccess(ctx context.Context, module string) (all []admin.Holding, err error) {
	bound, err := d.authz.Bindings(ctx, module)
	if err != nil {
		return nil, err
	}
	for _, p := range bound.Patterns {
		h := admin.Holding{Kind: "grant", Name: p.Role + ": " + p.Pattern, Count: 1}
		if !p.Granted {
			h.Note = "taken from the role"
		}
		all = append(all, h)
	}
	for _, role := range bound.Roles {
		h := admin.Holding{Kind: "assigned role", Name: role, Note: "from the module's manifest alone"}
		for _, a := range bound.Assignments {
			if a.Role == role {
				h.Count++
			}
		}
		all = append(all, h)
	}
	tokens, err := d.auth.Naming(ctx, module)
	for _, t := range tokens {
		all = append(all, admin.Holding{Kind: "token", Name: strings.TrimSpace(t.ID + " " + t.Name), Count: 1})
	}
	return all, err
}

func (d *daemon) heldElsewhere(ctx context.Context, module string) (all []admin.Holding, err error) {
	used, err := d.cache.Usage(ctx, module)
	if err != nil {
		return nil, err
	}
	if used.Keys > 0 {
		all = append(all, admin.Holding{Kind: "cache", Name: d.cache.Name(), Count: used.Keys, Bytes: used.Bytes})
	}
	if d.sandbox != nil {
		if uid, found := d.sandbox.User(module); found {
			all = append(all, admin.Holding{Kind: "user", Name: fmt.Sprint(uid), Count: 1, Note: "that its processes ran as"})
		}
	}
	if d.live.wishes.isDisabled(module) && !d.onDisk(module) {
		all = append(all, admin.Holding{Kind: "setting", Name: "disabled", Count: 1})
	}
	return all, nil
}

// heldForGood is what tells of the past, which a purge does not change.
func (d *daemon) heldForGood(_ context.Context, module string) (all []admin.Holding, err error) {
	logs, err := filepath.Glob(filepath.Join(d.dataDir, "logs", module+"[.\\-]*"))
	for _, file := range logs {
		if info, err := os.Stat(file); err == nil {
			all = append(all, admin.Holding{Kind: "log", Name: file, Count: 1, Bytes: info.Size(), Stays: true})
		}
	}
	return all, err
}

// onDisk tells whether there is a module to be run, disabled or not.
func (d *daemon) onDisk(module string) bool { return slices.Contains(d.installed().Names(), module) }
