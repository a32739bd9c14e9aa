package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/platformd/platformd/core/internal/archive"
)

// Staged is a package whose files lie beside the installed ones: whole, read-only and synced, but nothing that counts.
type Staged struct {
	outer    string // a folder of its own
	pkg      *archive.Package
	contents string
}

// names within outer
const (
	extracting = ".extracting"
	aside      = ".aside"
)

// Stage reads a package to its end and puts the files for a platform, such as linux/amd64, into a folder of their own. The
// error is an *archive.Error if the package is not as it should be; then, as after every error, nothing is left. The result is
// the caller's to Discard. Nobody has checked who signed it.
func (s *Store) Stage(ctx context.Context, from io.Reader, platform string) (*Staged, error) {
	outer, err := s.makeOuter()
	if err != nil {
		return nil, s.disk("make a folder for the package", err)
	}
	failpoint("stage.folder")
	staged := &Staged{outer: outer}
	if err := staged.unpack(ctx, from, platform); err != nil {
		return nil, errors.Join(s.explain(err), removeTree(outer))
	}
	return staged, nil
}

func (s *Store) makeOuter() (string, error) {
	if err := os.MkdirAll(s.data, private); err != nil {
		return "", err
	}
	if err := makeFolder(s.folder(), passable); err != nil {
		return "", err
	}
	if err := makeFolder(s.staging(), private); err != nil {
		return "", err
	}
	return os.MkdirTemp(s.staging(), "")
}

// explain adds to an error of the disk what to do; the others say that themselves.
func (s *Store) explain(err error) error {
	var refused *archive.Error
	var disk *fs.PathError
	if !errors.As(err, &refused) && errors.As(err, &disk) {
		return s.disk("unpack the package", disk)
	}
	return err
}

func (g *Staged) unpack(ctx context.Context, from io.Reader, platform string) error {
	dir := filepath.Join(g.outer, extracting)
	if err := os.Mkdir(dir, private); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if g.pkg, err = archive.Extract(ctx, from, root, archive.Options{Platform: platform}); err != nil {
		return err
	}
	if err := checkVersion(g.pkg.Manifest.Version); err != nil {
		return &archive.Error{Code: "bad_version", Err: err, Message: "the package's version: " + err.Error(),
			Fix: "give it a shorter version, and pack again"}
	}
	failpoint("stage.extracted")
	if err := g.list(root); err != nil {
		return err
	}
	failpoint("stage.listed")
	if err := seal(root); err != nil {
		return err
	}
	failpoint("stage.sealed")
	if err := os.Rename(dir, g.Dir()); err != nil {
		return err
	}
	return syncFolder(g.outer)
}

// list writes checksums.txt for what has been extracted: the package's own one names the executables of all platforms.
func (g *Staged) list(root *os.Root) error {
	sums := map[string]string{}
	for _, f := range g.pkg.Files {
		if f.Path != "" {
			sums[f.Path] = f.SHA256
		}
	}
	text := listing(sums)
	g.contents = sumOf(text)
	file, err := root.OpenFile(archive.ChecksumsFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("list the files: %w", err)
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}

func sumOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Dir is the folder with the files. Its name is the module's, and it is alone in its parent: who reads folders of modules can
// read that one.
func (g *Staged) Dir() string { return filepath.Join(g.outer, g.pkg.Manifest.Name) }

// Package is what was in the package.
func (g *Staged) Package() *archive.Package { return g.pkg }

// Contents is what Entry.Contents becomes.
func (g *Staged) Contents() string { return g.contents }

// Discard removes the files, unless Begin has taken them over.
func (g *Staged) Discard() error {
	if err := removeTree(g.outer); err != nil {
		return fmt.Errorf("remove the unpacked package: %w (fix: restart platformd, which tries it again)", err)
	}
	return nil
}
