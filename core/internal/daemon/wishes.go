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

	mu       sync.Mutex
	disabled []string // sorted
}

// wishesFile is what the file holds.
type wishesFile struct {
	Disabled []string `json:"disabled"`
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
	w.disabled = slices.Sorted(slices.Values(kept.Disabled))
	return w, nil
}

func (w *wishes) isDisabled(module string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.disabled, module)
}

// set keeps a wish before it counts.
func (w *wishes) set(module string, disabled bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := slices.DeleteFunc(slices.Clone(w.disabled), func(name string) bool { return name == module })
	if disabled {
		next = slices.Sorted(slices.Values(append(next, module)))
	}
	content, err := json.MarshalIndent(wishesFile{Disabled: next}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode which modules are disabled: %w", err)
	}
	if err := replaceFile(w.file, append(content, '\n')); err != nil {
		return fmt.Errorf("keep which modules are disabled: %w (fix: make room for %s)", err, w.file)
	}
	w.disabled = next
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
