package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/isolation"
	"github.com/platformd/platformd/core/internal/store"
)

// The results of a check.
const (
	checkOK   = "ok"
	checkWarn = "warn" // the platform runs, with less than it could have
	checkFail = "fail" // the platform does not start, or not for long
)

// Free space below these is worth a word, in bytes.
const (
	littleSpace = 1 << 30
	noSpace     = 64 << 20
)

// filesPerConnection is what an exchange may take: the client's connection, and one to the module.
const filesPerConnection = 2

// finding is one thing that the doctor looked at.
type finding struct {
	Name   string `json:"name"`
	Result string `json:"result"`
	Detail string `json:"detail,omitempty"`
	Fix    string `json:"fix,omitempty"`
}

// diagnosis is what `doctor -o json` prints.
type diagnosis struct {
	Healthy   bool            `json:"healthy"`
	Isolation isolation.Level `json:"isolation"`
	Checks    []finding       `json:"checks"`
}

// patient is what the doctor examines.
type patient struct {
	settings *config.Config
	dataDir  string
	host     *isolation.Host
	daemon   *admin.Info // nil: none answers
}

func (a *app) doctor() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what keeps the platform from running well",
		Long: "Examines this machine and the platform's files, whether or not the platform runs, and says what to do about\n" +
			"each thing that is not as it should be. Exits with 4 if one of them breaks the platform.",
	}
	return a.printer(cmd, func(cmd *cobra.Command, _ []string) error {
		settings, err := a.settings(cmd, nil)
		if err != nil {
			return err
		}
		return a.showDiagnosis(examine(cmd.Context(), a.patient(cmd.Context(), settings)))
	})
}

func (a *app) patient(ctx context.Context, settings *config.Config) *patient {
	p := &patient{settings: settings, dataDir: settings.Data.Dir}
	if dir, err := filepath.Abs(p.dataDir); err == nil {
		p.dataDir = dir
	}
	if info, err := admin.Dial(admin.SocketPath(p.dataDir)).Info(ctx); err == nil {
		p.daemon = &info
	}
	p.host = a.deps.Probe()
	return p
}

func examine(ctx context.Context, p *patient) diagnosis {
	d := diagnosis{Healthy: true, Isolation: p.level()}
	for _, look := range []func(context.Context) []finding{
		p.isolation, p.data, p.control, p.listener, p.files, p.database, p.modules,
	} {
		d.Checks = append(d.Checks, look(ctx)...)
	}
	for _, check := range d.Checks {
		d.Healthy = d.Healthy && check.Result != checkFail
	}
	return d
}

func (a *app) showDiagnosis(d diagnosis) error {
	if err := a.printDiagnosis(d); err != nil {
		return err
	}
	if d.Healthy {
		return nil
	}
	var broken []string
	fix := ""
	for _, check := range d.Checks {
		if check.Result == checkFail {
			broken, fix = append(broken, check.Name), cmp.Or(fix, check.Fix)
		}
	}
	return &failure{err: errors.New("not well: " + strings.Join(broken, ", ")), code: ExitUnhealthy, fix: fix}
}

func (a *app) printDiagnosis(d diagnosis) error {
	if a.format == formatJSON {
		return a.out.json(d)
	}
	rows := [][]string{{"CHECK", "RESULT", "DETAIL"}}
	for _, check := range d.Checks {
		rows = append(rows, []string{check.Name, check.Result, check.Detail})
	}
	if err := a.out.table(rows); err != nil {
		return err
	}
	for _, check := range d.Checks {
		if check.Fix != "" {
			fmt.Fprintf(a.out, "\n%s: %s\n  fix: %s\n", clean(check.Name), check.Result, clean(check.Fix))
		}
	}
	return nil
}

// level and capabilities are the daemon's, which may have other rights than we.
func (p *patient) level() isolation.Level {
	if p.daemon != nil {
		return p.daemon.Isolation
	}
	return p.host.Level()
}

func (p *patient) capabilities() []isolation.Finding {
	if p.daemon != nil {
		return p.daemon.Capabilities
	}
	return p.host.Findings()
}

func (p *patient) isolation(context.Context) []finding {
	all := []finding{{Name: "isolation", Result: checkOK, Detail: p.level().String()}}
	if p.level() == isolation.None {
		all[0].Result, all[0].Fix = checkWarn, "see the fixes below; until then install only modules that you trust"
	}
	for _, capability := range p.capabilities() {
		result := checkOK
		if !capability.OK {
			result = checkWarn
		}
		all = append(all, finding{Name: capability.Name, Result: result, Detail: capability.Detail, Fix: capability.Fix})
	}
	return all
}

// data looks at the folder that must exist, belong to us alone, and have room.
func (p *patient) data(context.Context) []finding {
	f := finding{Name: "data dir", Result: checkOK, Detail: p.dataDir}
	info, err := os.Stat(p.dataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Detail += " does not exist yet; the first start makes it"
		return []finding{f}
	case err != nil:
		f.Result, f.Detail, f.Fix = checkFail, err.Error(), "set data.dir to a folder that platformd may use"
	case !info.IsDir():
		f.Result, f.Detail, f.Fix = checkFail, p.dataDir+" is not a folder", "set data.dir to a folder"
	case unix.Access(p.dataDir, unix.W_OK|unix.X_OK) != nil:
		f.Result, f.Detail = checkFail, p.dataDir+" cannot be written"
		f.Fix = "run the command as the user that runs platformd, or give that user the folder"
	case info.Mode().Perm()&0o066 != 0:
		f.Result, f.Detail = checkWarn, fmt.Sprintf("%s has mode %o: other users can look into it", p.dataDir, info.Mode().Perm())
		f.Fix = "chmod go-rw " + p.dataDir
	}
	all := []finding{f, p.space()}
	if err := p.host.Reach(p.dataDir); err != nil {
		what, fix := admin.SplitFix(err.Error())
		all = append(all, finding{Name: "data dir for modules", Result: checkWarn, Detail: what, Fix: fix})
	}
	return all
}

func (p *patient) space() finding {
	f := finding{Name: "disk space", Result: checkOK}
	var stat unix.Statfs_t
	if err := unix.Statfs(p.dataDir, &stat); err != nil {
		f.Result, f.Detail, f.Fix = checkWarn, err.Error(), "see whether the disk is there"
		return f
	}
	free := stat.Bavail * uint64(stat.Bsize) //nolint:gosec // a block has a positive size
	f.Detail = fmt.Sprintf("%d MiB free", free>>20)
	switch {
	case free < noSpace:
		f.Result, f.Fix = checkFail, "free some space on the disk of "+p.dataDir
	case free < littleSpace:
		f.Result, f.Fix = checkWarn, "free some space on the disk of "+p.dataDir
	}
	return f
}

func (p *patient) control(context.Context) []finding {
	path := admin.SocketPath(p.dataDir)
	f := finding{Name: "control socket", Result: checkOK, Detail: path}
	_, err := os.Stat(path)
	switch long := admin.CheckSocketPath(path); {
	case long != nil:
		what, fix := admin.SplitFix(long.Error())
		f.Result, f.Detail, f.Fix = checkFail, what, fix
	case p.daemon != nil:
		f.Detail = fmt.Sprintf("answered by platformd %s, pid %d", p.daemon.Version, p.daemon.PID)
	case holder(admin.LockPath(p.dataDir)) != 0:
		f.Result = checkFail
		f.Detail = fmt.Sprintf("platformd (pid %d) runs, but does not answer", holder(admin.LockPath(p.dataDir)))
		f.Fix = "run the command again in a moment, as the user that started platformd; see the log in " +
			filepath.Join(p.dataDir, "logs")
	case err == nil:
		f.Detail = "left by a platformd that was killed; the next start replaces it"
	default:
		f.Detail = "no platformd runs on this data dir"
	}
	return []finding{f}
}

func (p *patient) listener(ctx context.Context) []finding {
	address := p.settings.Server.Listen
	if p.daemon != nil {
		return []finding{{Name: "listen", Result: checkOK, Detail: p.daemon.Listen + ", by the running platformd"}}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return []finding{{Name: "listen", Result: checkFail, Detail: err.Error(),
			Fix: "stop what uses the address, or set server.listen or --listen"}}
	}
	_ = listener.Close() // it was only tried
	return []finding{{Name: "listen", Result: checkOK, Detail: address + " is free"}}
}

// files looks at the hard limit: the daemon raises the soft one to it by itself.
func (p *patient) files(context.Context) []finding {
	f := finding{Name: "open files", Result: checkOK}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		f.Result, f.Detail, f.Fix = checkWarn, err.Error(), "see ulimit -n"
		return []finding{f}
	}
	f.Detail = fmt.Sprintf("at most %d", limit.Max)
	if wanted := uint64(p.settings.Server.MaxConnections) * filesPerConnection; limit.Max < wanted {
		f.Result = checkWarn
		f.Detail += fmt.Sprintf("; server.maxConnections %d may need %d", p.settings.Server.MaxConnections, wanted)
		f.Fix = "raise the limit (ulimit -Hn, or LimitNOFILE= of the systemd service), or lower server.maxConnections"
	}
	return []finding{f}
}

// scan reads the modules as a start would.
func (p *patient) scan(ctx context.Context) (*catalog.Catalog, error) {
	packages, err := store.Open(p.dataDir)
	if err != nil {
		return nil, err
	}
	return catalog.Scan(catalog.Options{
		Dir: p.settings.Modules.Dir, Installed: catalog.Shelf{Store: packages}.Chosen(ctx),
		RequireSigned: p.settings.Modules.RequireSigned,
	})
}

func (p *patient) modules(ctx context.Context) []finding {
	found, err := p.scan(ctx)
	if err != nil {
		what, fix := admin.SplitFix(err.Error())
		return []finding{{Name: "modules dir", Result: checkFail, Detail: what,
			Fix: cmp.Or(fix, "set modules.dir to a folder that platformd may read")}}
	}
	f := finding{Name: "modules dir", Result: checkOK,
		Detail: fmt.Sprintf("%s: %s", p.settings.Modules.Dir, count(len(found.Modules), "module"))}
	if len(found.Modules)+len(found.Problems) == 0 {
		f.Result, f.Fix = checkWarn, "put a module's folder there, install a package, or set modules.dir"
	}
	all := []finding{f}
	for _, refused := range found.Problems {
		all = append(all, moduleFinding(refused.Name, refused.Err))
	}
	for _, mod := range found.Modules {
		if mod.Held != nil {
			all = append(all, moduleFinding(mod.Manifest.Name, mod.Held))
		}
		if err := p.host.Reach(mod.Executable); err != nil {
			all = append(all, moduleFinding(mod.Manifest.Name, err))
		}
	}
	return all
}

func moduleFinding(name string, err error) finding {
	what, fix := admin.SplitFix(err.Error())
	return finding{Name: "module " + name, Result: checkWarn, Detail: what, Fix: fix}
}
