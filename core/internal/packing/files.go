package packing

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/platformd/platformd/core/internal/archive"
	"github.com/platformd/platformd/core/internal/signing"
	"github.com/platformd/platformd/core/internal/sqlfiles"
	"github.com/platformd/platformd/plugin-api/manifest"
)

const (
	// maxSecret is more than a secret key has, in bytes.
	maxSecret = 4 << 10
	// descriptorSet ends the names of files with descriptors of services, as buf and protoc write them.
	descriptorSet = ".binpb"
)

// takeNamed takes what a module in Go needs: what its manifest names, its migrations, descriptor sets, and what a person should
// read. The rest of the folder is source.
func (p *packing) takeNamed() error {
	names := []string{archive.ManifestFile}
	if c := p.manifest.Config; c != nil {
		names = append(names, c.Schema)
	}
	for _, event := range p.manifest.Events.Publishes {
		if event.Schema != "" {
			names = append(names, event.Schema)
		}
	}
	found, err := p.walk(func(name string) bool {
		return p.isMigration(name) || isForPeople(name) || isDescriptorSet(name)
	})
	if err != nil {
		return err
	}
	names = append(names, found...)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if err := p.add(name, false); err != nil {
			return err
		}
	}
	p.checkDescribed()
	return nil
}

func (p *packing) isMigration(name string) bool {
	return p.manifest.Migrations == manifest.MigrationsSQL && path.Dir(name) == sqlfiles.Folder && path.Ext(name) == ".sql"
}

// isDescriptorSet does not count those that only the build needs.
func isDescriptorSet(name string) bool {
	for _, folder := range []string{"testdata", "vendor", "node_modules"} {
		if slices.Contains(strings.Split(path.Dir(name), "/"), folder) {
			return false
		}
	}
	return strings.HasSuffix(name, descriptorSet)
}

func isForPeople(name string) bool {
	for _, begin := range []string{"LICENSE", "LICENCE", "COPYING", "NOTICE", "README", "CHANGELOG"} {
		if strings.HasPrefix(name, begin) && !strings.Contains(name, "/") {
			return true
		}
	}
	return false
}

// takeFolder takes all of the folder but what is hidden, the executables, which have been taken, and packages of the module
// itself.
func (p *packing) takeFolder() error {
	taken := map[string]bool{filepath.ToSlash(p.manifest.Runtime.Executable): true, archive.ChecksumsFile: true}
	for _, platform := range archive.Platforms() {
		taken[archive.ExecutableName(platform, p.manifest.Name)] = true
	}
	found, err := p.walk(func(name string) bool { return !taken[name] && !p.isPackage(name) })
	if err != nil {
		return err
	}
	for _, name := range found {
		info, err := os.Lstat(filepath.Join(p.Dir, filepath.FromSlash(name)))
		if err != nil {
			return fmt.Errorf("pack %s: %w", name, err)
		}
		if err := p.add(name, info.Mode().Perm()&0o111 != 0); err != nil {
			return err
		}
	}
	p.checkDescribed()
	return nil
}

func (p *packing) isPackage(name string) bool {
	name = strings.TrimSuffix(name, signing.Extension)
	output, err := filepath.Rel(p.Dir, p.Output)
	return strings.HasPrefix(name, p.manifest.Name+"-") && strings.HasSuffix(name, ".tar.gz") ||
		err == nil && name == filepath.ToSlash(output)
}

// walk lists what is in the folder and wanted, sorted. Hidden files and folders, and other modules within, are not looked at.
func (p *packing) walk(wanted func(name string) bool) (found []string, err error) {
	root := os.DirFS(p.Dir)
	err = fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == ".":
			return nil
		case strings.HasPrefix(entry.Name(), "."):
			return skip(entry)
		case entry.IsDir():
			if _, err := fs.Stat(root, path.Join(name, archive.ManifestFile)); err == nil {
				return fs.SkipDir
			}
		case wanted(name):
			found = append(found, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look through the module's folder: %w (fix: make all of it readable)", err)
	}
	return found, nil
}

func skip(entry fs.DirEntry) error {
	if entry.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// refuseSecret keeps a key out of what everybody may read.
func refuseSecret(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("pack %s: %w", path, err)
	}
	if signing.IsSecret(text) {
		return fmt.Errorf("%s is a secret key, and would be in the package (fix: keep it elsewhere)", path)
	}
	return nil
}

// describes takes note of the services that a descriptor set tells of.
func (p *packing) describes(name, path string) error {
	if !strings.HasSuffix(name, descriptorSet) {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(text, set); err != nil || len(set.GetFile()) == 0 {
		return fmt.Errorf("%s is no set of protobuf descriptors (fix: make it with `buf build -o %[1]s`, "+
			"or protoc --include_imports --descriptor_set_out)", path)
	}
	for _, file := range set.GetFile() {
		for _, service := range file.GetService() {
			p.described = append(p.described, strings.TrimPrefix(file.GetPackage()+"."+service.GetName(), "."))
		}
	}
	return nil
}

func (p *packing) checkDescribed() {
	for _, service := range p.manifest.Services.Provides {
		if !slices.Contains(p.described, service) {
			p.note("no *%s file in the folder describes %s: who wants to call it will need its .proto from elsewhere",
				descriptorSet, service)
		}
	}
}
