package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// wishes are what operators have said about modules while the platform ran, and what is to hold after the next start. They lie in
// a file of the data directory; config.yaml wins over them. Safe for concurrent use.
type wishes struct {
	file string

	mu   sync.Mutex
	kept wishesFile // its lists are sorted, and never changed
}

// wishesFile is what the file holds.
type wishesFile struct {
	Disabled []string `json:"disabled"`
	// Purging are those whose data is being removed.
	Purging []string `json:"purging,omitempty"`
}

func openWishes(file string) (*wishes, error) {
	w := &wishes{file: file}
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return w, nil
	}
	var kept wishesFile
	if err == nil {
		err = json.Unmarshal(content, &kept)
	}
	if err != nil {
		return nil, fmt.Errorf("read which modules are disabled, in %s: %w (fix: restore the file, or remove it: then all are enabled)",
			file, err)
	}
	w.kept = wishesFile{slices.Sorted(slices.Values(kept.Disabled)), slices.Sorted(slices.Values(kept.Purging))}
	return w, nil
}

func (w *wishes) isDisabled(module string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.kept.Disabled, module)
}

func (w *wishes) isPurging(module string) bool { return slices.Contains(w.begunPurges(), module) }

// begunPurges are the modules whose data is being removed, by this daemon or one before.
func (w *wishes) begunPurges() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.kept.Purging
}

// set keeps a wish before it counts.
func (w *wishes) set(module string, disabled bool) error {
	return w.change(func(next *wishesFile) { next.Disabled = listed(next.Disabled, module, disabled) })
}

// setPurging keeps that a module's data is being removed, or is gone.
func (w *wishes) setPurging(module string, begun bool) error {
	return w.change(func(next *wishesFile) { next.Purging = listed(next.Purging, module, begun) })
}

// listed returns another list, in which the name is, or is not.
func listed(names []string, name string, in bool) []string {
	next := slices.DeleteFunc(slices.Clone(names), func(other string) bool { return other == name })
	if in {
		next = slices.Sorted(slices.Values(append(next, name)))
	}
	return next
}

func (w *wishes) change(edit func(*wishesFile)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := w.kept
	edit(&next)
	if slices.Equal(next.Disabled, w.kept.Disabled) && slices.Equal(next.Purging, w.kept.Purging) {
		return nil
	}
	content, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return fmt.Errorf("encode what operators want of modules: %w", err)
	}
	if err := replaceFile(w.file, append(content, '\n')); err != nil {
		return fmt.Errorf("keep which modules are disabled: %w (fix: make room for %s)", err, w.file)
	}
	w.kept = next
	return nil
}

// replaceFile leaves the old content or the new one, whenever the process or the machine ends.
func replaceFile(path string, content []byte) error {
	next := path + ".new"
	file, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next))
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// disabled returns an error that matches errDisabled if the module is not to run, and says who wants that.
func (d *daemon) disabled(module string) error {
	override := d.config.Modules.Overrides[module]
	switch {
	case d.live.wishes.isPurging(module):
		return fmt.Errorf("%w: its data is being removed (fix: when `platformd module purge %s` has come to its end, start it)",
			errDisabled, module)
	case !override.IsEnabled():
		return fmt.Errorf("%w in config.yaml (fix: remove modules.overrides.%s.enabled: false)", errDisabled, module)
	case override.Enabled == nil && d.live.wishes.isDisabled(module):
		return fmt.Errorf("%w by an operator (fix: platformd module enable %s)", errDisabled, module)
	}
	return nil
}

// wish keeps that a module is to run, or is not to, also after the next start.
func (d *daemon) wish(module string, disabled bool) error {
	if said := d.config.Modules.Overrides[module].Enabled; said != nil && *said == disabled {
		return refused("config.yaml says modules.overrides.%s.enabled: %t, which wins\nfix: remove that, and restart platformd",
			module, *said)
	}
	return d.live.wishes.set(module, disabled)
}
