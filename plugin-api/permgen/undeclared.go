package permgen

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/platformd/platformd/plugin-api/manifest"
)

// checks are the methods of pluginapi that take permissions.
var checks = []string{"Check", "BatchCheck", "Require"}

// Undeclared reads the Go files below dir and returns an error for each permission of the module itself that a check spells out
// and the manifest does not declare: such a check would always deny. Constants of package perm cannot be wrong; the compiler
// sees to them. Folders that Go ignores (testdata, vendor, those that begin with "." or "_") are left out.
func Undeclared(dir string, m *manifest.Manifest) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("read the module's sources: %w", err)
	}
	defer func() { _ = root.Close() }()
	finder := finder{module: m.Name + ".", files: token.NewFileSet()}
	for _, p := range m.Permissions {
		finder.declared = append(finder.declared, p.Name)
	}
	err = fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != "." && ignored(entry.Name()):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		source, err := fs.ReadFile(root.FS(), path)
		if err != nil {
			return err
		}
		return finder.read(filepath.Join(dir, path), source)
	})
	if err != nil {
		return fmt.Errorf("read the module's sources: %w", err)
	}
	return finder.verdict(m.Name)
}

func ignored(folder string) bool {
	return folder == "testdata" || folder == "vendor" || strings.HasPrefix(folder, ".") || strings.HasPrefix(folder, "_")
}

type finder struct {
	module   string // with its dot
	declared []string
	files    *token.FileSet
	found    []string
}

func (f *finder) read(path string, source []byte) error {
	parsed, err := parser.ParseFile(f.files, path, source, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if method, ok := call.Fun.(*ast.SelectorExpr); ok && slices.Contains(checks, method.Sel.Name) {
			f.arguments(call)
		}
		return true
	})
	return nil
}

// arguments looks at the strings in a call's arguments, those in a list too.
func (f *finder) arguments(call *ast.CallExpr) {
	for _, argument := range call.Args {
		ast.Inspect(argument, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(literal.Value)
			if err == nil && strings.HasPrefix(text, f.module) && !slices.Contains(f.declared, text) {
				f.found = append(f.found, fmt.Sprintf("%s: %s", f.files.Position(literal.Pos()), text))
			}
			return true
		})
	}
}

func (f *finder) verdict(module string) error {
	if len(f.found) == 0 {
		return nil
	}
	return fmt.Errorf("%s checks permissions that its module.yaml does not declare:\n  %s\n"+
		"(fix: declare them, or use the constants of package perm)", module, strings.Join(f.found, "\n  "))
}
