package manifest

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/Masterminds/semver/v3"
)

// The patterns are used here and in the schema.
const (
	namePattern       = `^[a-z][a-z0-9_]{1,40}$`
	permissionPattern = `^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$`
	rolePattern       = `^[a-z][a-z0-9_-]{0,62}$`
	envPattern        = `^[A-Za-z_][A-Za-z0-9_]*$`
	routeIDPattern    = `^[a-zA-Z][a-zA-Z0-9_]*$`
	versionPattern    = `^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`
)

var (
	nameRule       = regexp.MustCompile(namePattern)
	permissionRule = regexp.MustCompile(permissionPattern)
	roleRule       = regexp.MustCompile(rolePattern)
	envRule        = regexp.MustCompile(envPattern)
	routeIDRule    = regexp.MustCompile(routeIDPattern)
)

// The bounds of startTimeout and stopTimeout.
const (
	minPhase = Duration(100 * time.Millisecond)
	maxPhase = Duration(10 * time.Minute)
)

// Validate checks the rules that need nothing but the manifest itself. A size or timeout that is 0 is taken as not
// given. The error is an Errors without files and lines.
func (m *Manifest) Validate() error { return m.problems().asError() }

func (m *Manifest) problems() Errors {
	var errs Errors
	m.checkIdentity(&errs)
	m.checkRequires(&errs)
	m.checkPermissions(&errs)
	m.checkRoutes(&errs)
	m.checkGrants(&errs)
	m.checkEvents(&errs)
	m.checkServices(&errs)
	m.checkMigrations(&errs)
	m.checkRuntime(&errs)
	if m.Config != nil {
		checkFile(&errs, "config.schema", m.Config.Schema)
	}
	return errs
}

// SupportsPlatform returns an error unless requires.platform admits the version of platformd, whose prerelease and build
// suffixes are ignored: 0.2.0-rc.1 counts as 0.2.0.
func (m *Manifest) SupportsPlatform(version string) error {
	if m.Requires.Platform == "" {
		return nil
	}
	running, err := semver.NewVersion(version)
	if err != nil {
		return fmt.Errorf("platformd's version %q: %w", version, err)
	}
	constraint, err := semver.NewConstraint(m.Requires.Platform)
	if err != nil {
		return fmt.Errorf("requires.platform %q: %w", m.Requires.Platform, err)
	}
	if !constraint.Check(semver.New(running.Major(), running.Minor(), running.Patch(), "", "")) {
		return &Error{Field: "requires.platform", Code: "incompatible_platform",
			Message: fmt.Sprintf("%s %s requires platformd %s; this is %s", m.Name, m.Version, m.Requires.Platform, version),
			Fix:     "run a platformd that matches, or install a version of " + m.Name + " made for this one"}
	}
	return nil
}

func (m *Manifest) checkIdentity(errs *Errors) {
	if m.APIVersion != APIVersion {
		errs.add("apiVersion", "bad_api_version", fmt.Sprintf("apiVersion %q is not known", m.APIVersion),
			"write apiVersion: "+APIVersion)
	}
	checkName(errs, "name", m.Name)
	if _, err := semver.StrictNewVersion(m.Version); err != nil {
		errs.add("version", "bad_version", fmt.Sprintf("version %q is not a semantic version", m.Version),
			"write three numbers, for example 0.3.0")
	}
	checkProse(errs, "description", m.Description)
}

func checkName(errs *Errors, field, name string) {
	switch {
	case !nameRule.MatchString(name):
		errs.add(field, "bad_name", fmt.Sprintf("%+q is not a module name", name),
			"use 2 to 41 of a-z, 0-9 and _, beginning with a letter")
	case Reserved(name):
		errs.add(field, "reserved_name", fmt.Sprintf("the name %q is reserved", name), "choose another name")
	}
}

// Reserved tells whether no module may have the name, because it means something to the platform or its databases.
func Reserved(name string) bool {
	reserved := []string{"core", "identity", "platform", "platformd", "public", "information_schema"}
	return slices.Contains(reserved, name) || strings.HasPrefix(name, "pg_")
}

// checkProse lets a terminal show the text safely: no control characters, nothing that reorders what is read.
func checkProse(errs *Errors, field, text string) {
	for _, r := range text {
		if unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r) {
			errs.add(field, "bad_text", fmt.Sprintf("`%s` has the invisible character %U in it", field, r),
				"remove the character")
			return
		}
	}
}

func (m *Manifest) checkRequires(errs *Errors) {
	if m.Requires.Platform != "" {
		checkConstraint(errs, "requires.platform", m.Requires.Platform)
	}
	m.checkModules(errs, "requires.modules", m.Requires.Modules)
	m.checkModules(errs, "requires.optional", m.Requires.Optional)
	for _, name := range slices.Sorted(maps.Keys(m.Requires.Optional)) {
		if _, both := m.Requires.Modules[name]; both {
			errs.add("requires.optional."+name, "ambiguous_dependency", fmt.Sprintf("%s is both required and optional", name),
				"name it either in requires.modules or in requires.optional")
		}
	}
}

func (m *Manifest) checkModules(errs *Errors, field string, modules map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		at := join(field, name)
		if name == m.Name {
			errs.add(at, "self_dependency", name+" requires itself", "remove it")
			continue
		}
		checkName(errs, at, name)
		checkConstraint(errs, at, modules[name])
	}
}

func checkConstraint(errs *Errors, field, constraint string) {
	if _, err := semver.NewConstraint(constraint); err != nil {
		errs.add(field, "bad_constraint", fmt.Sprintf("%q is not a version constraint", constraint),
			`write for example "^0.2", ">=0.1" or "*"`)
	}
}

func (m *Manifest) checkPermissions(errs *Errors) {
	seen := map[string]bool{}
	for i, p := range m.Permissions {
		at := fmt.Sprintf("permissions[%d]", i)
		m.checkPermissionName(errs, at+".name", p.Name)
		if seen[p.Name] {
			errs.add(at+".name", "duplicate_permission", p.Name+" is declared twice", "remove one of the two")
		}
		seen[p.Name] = true
		if strings.TrimSpace(p.Description) == "" {
			errs.add(at+".description", "missing_description", p.Name+" has no description", "say what its holder may do")
		}
		checkProse(errs, at+".description", p.Description)
		checkRoles(errs, at+".roles", p.Roles)
	}
}

func (m *Manifest) checkPermissionName(errs *Errors, field, name string) {
	owner, _, _ := strings.Cut(name, ".")
	switch {
	case !permissionRule.MatchString(name):
		errs.add(field, "bad_permission", fmt.Sprintf("%+q is not a permission", name),
			"write MODULE.RESOURCE.ACTION in lower case, for example blog.post.read")
	case owner != m.Name && nameRule.MatchString(m.Name):
		errs.add(field, "foreign_permission", fmt.Sprintf("%s belongs to the module %s", name, owner),
			"a module declares only permissions that begin with its own name: "+m.Name+".")
	}
}

func checkRoles(errs *Errors, field string, roles []string) {
	again := repeated(roles)
	for i, role := range roles {
		at := fmt.Sprintf("%s[%d]", field, i)
		if !roleRule.MatchString(role) {
			errs.add(at, "bad_role", fmt.Sprintf("%+q is not a role", role),
				"use a-z, 0-9, _ and -, beginning with a letter")
		} else if again[i] {
			errs.add(at, "duplicate_role", role+" is named twice", "remove one of the two")
		}
	}
}

// repeated returns the indexes of values that have come before.
func repeated(values []string) map[int]bool {
	seen, again := map[string]bool{}, map[int]bool{}
	for i, value := range values {
		if seen[value] {
			again[i] = true
		}
		seen[value] = true
	}
	return again
}

func (m *Manifest) checkMigrations(errs *Errors) {
	switch m.Migrations {
	case "":
	case MigrationsGo, MigrationsSQL:
		if !m.Grants.Database {
			errs.add("migrations", "migrations_without_database", "migrations change a database, which the module does not ask for",
				"write grants: { database: true }, or remove migrations")
		}
	default:
		errs.add("migrations", "bad_migrations", fmt.Sprintf("migrations %q is not known", m.Migrations),
			"write migrations: go or migrations: sql, or remove it")
	}
}

func (m *Manifest) checkRuntime(errs *Errors) {
	r := m.Runtime
	if r.Executable != "" {
		checkFile(errs, "runtime.executable", r.Executable)
	}
	checkPhase(errs, "runtime.startTimeout", r.StartTimeout)
	checkPhase(errs, "runtime.stopTimeout", r.StopTimeout)
	if !slices.Contains([]string{"", UpgradeOverlap, UpgradeExclusive}, r.Upgrade) {
		errs.add("runtime.upgrade", "bad_upgrade", fmt.Sprintf("runtime.upgrade %q is not known", r.Upgrade),
			"write upgrade: overlap or upgrade: exclusive, or remove it")
	}
	checkLimits(errs, r)
	checkEnv(errs, r.Env)
	if r.Restart != nil && r.Restart.Max < 0 {
		errs.add("runtime.restart.max", "bad_restart", fmt.Sprintf("restart.max %d is negative", r.Restart.Max),
			"write 0 (never) or more")
	}
	if r.Restart != nil && r.Restart.Window <= 0 {
		errs.add("runtime.restart.window", "bad_restart", "restart.window must be more than 0",
			"write for example window: 10m")
	}
}

func checkPhase(errs *Errors, field string, d Duration) {
	if d != 0 && (d < minPhase || d > maxPhase) {
		errs.add(field, "out_of_bounds", fmt.Sprintf("`%s` %s is out of bounds", field, d),
			"write a duration between 100ms and 10m")
	}
}

// checkEnv keeps the variables of the launch protocol in the core's own hands.
func checkEnv(errs *Errors, names []string) {
	again := repeated(names)
	for i, name := range names {
		at, upper := fmt.Sprintf("runtime.env[%d]", i), strings.ToUpper(name)
		switch {
		case !envRule.MatchString(name):
			errs.add(at, "bad_env", fmt.Sprintf("%+q is not the name of an environment variable", name),
				"name the variable alone, for example TZ")
		case strings.HasPrefix(upper, "PLUGIN_"), strings.HasPrefix(upper, "PLATFORMD_"):
			errs.add(at, "reserved_env", name+" is reserved for the platform", "hand the module its settings by its config")
		case again[i]:
			errs.add(at, "duplicate_env", name+" is named twice", "remove one of the two")
		}
	}
}

// checkFile refuses a path that is not plainly inside the module's folder.
func checkFile(errs *Errors, field, path string) {
	plain := !strings.ContainsFunc(path, func(r rune) bool { return r == '\\' || unicode.IsControl(r) })
	if !plain || !filepath.IsLocal(path) || filepath.ToSlash(filepath.Clean(path)) != path || path == "." {
		errs.add(field, "bad_path", fmt.Sprintf("`%s` %+q is not a path inside the module's folder", field, path),
			"write it relative to the folder of module.yaml, with single slashes and without . or .. parts")
	}
}
