package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/platformd/platformd/core/internal/admin"
)

// packagedModule is a module with the package that it came as, if it did.
type packagedModule struct {
	admin.Module
	Package *admin.InstalledPackage `json:"package,omitempty"`
}

// packaged finds the packages of modules.
func (c *conversation) packaged(modules []admin.Module) ([]packagedModule, error) {
	installed, err := c.Packages().List(c.cmd.Context())
	if err != nil {
		return nil, err
	}
	all := make([]packagedModule, len(modules))
	for i, m := range modules {
		all[i].Module = m
		if at := slices.IndexFunc(installed, func(p admin.InstalledPackage) bool { return p.Module == m.Name }); at >= 0 {
			all[i].Package = &installed[at]
		}
	}
	return all, nil
}

// listPackaged is listModules with the packages.
func (a *app) listPackaged(modules []packagedModule) error {
	last := len(moduleHeadings()) - 1
	rows := [][]string{slices.Insert(moduleHeadings(), last, "PACKAGE")}
	for _, m := range modules {
		rows = append(rows, slices.Insert(moduleRow(m.Module), last, m.origin()))
	}
	return a.out.table(rows)
}

// origin is who has signed the package, and whether it waits for approvals.
func (m *packagedModule) origin() string {
	switch {
	case m.Package == nil:
		return "-"
	case len(m.Package.Pending) > 0:
		return fmt.Sprintf("%s, %d not approved", m.signature(), len(m.Package.Pending))
	}
	return m.signature()
}

func (m *packagedModule) signature() string {
	if m.Package == nil {
		return m.Signature
	}
	return cmp.Or(m.Package.Signer, "unsigned")
}

func (m *packagedModule) grants() string {
	if m.Package == nil {
		return ""
	}
	return strings.Join(m.Package.Grants, ", ")
}

func (m *packagedModule) pending() string {
	if m.Package == nil {
		return ""
	}
	return strings.Join(m.Package.Pending, ", ")
}

// before is the version that a rollback returns to.
func (m *packagedModule) before() string {
	if m.Package == nil {
		return ""
	}
	return m.Package.Previous
}
