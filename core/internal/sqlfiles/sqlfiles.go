// Package sqlfiles is a module's migrations where they are SQL: migrations/NNNN_name.up.sql and .down.sql in its folder. It
// reads, checks and takes them apart, and runs one in a process of its own: the core's binary, started in the module's place,
// so that the SQL reaches no further than the module could.
//
// Floor 0. It must not run any of it in the core's own process, nor decide what is due.
package sqlfiles

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/db/step"
)

// Folder is where the files are, below the module's.
const Folder = "migrations"

const (
	maxFiles  = 1000
	maxNumber = 9999
	maxBytes  = 1 << 20 // of one file
	// untied is the first line of a file whose statements run one by one, outside of a transaction.
	untied = "-- platformd: no-transaction"
)

// Migration is one step, as its files say it.
type Migration struct {
	ID string // NNNN_name
	// Up and Down are its statements; no Down: it cannot be undone.
	Up, Down []string
	// UpUntied and DownUntied run the statements outside of a transaction. Each must then be harmless to run again.
	UpUntied, DownUntied bool
	Checksum             string // SHA-256 of the file with Up, in hex
}

// Declared is what the ledger compares.
func Declared(all []Migration) []ledger.Declared {
	declared := make([]ledger.Declared, len(all))
	for i, m := range all {
		declared[i] = ledger.Declared{ID: m.ID, Checksum: m.Checksum}
	}
	return declared
}

// Find returns the migration with an id; without one, a zero Migration.
func Find(all []Migration, id string) Migration {
	for _, m := range all {
		if m.ID == id {
			return m
		}
	}
	return Migration{}
}

// fileName is NNNN_name.up.sql, or NNNN_name.up.postgres.sql for one dialect.
var fileName = regexp.MustCompile(`^(([0-9]{4})_[a-z0-9_]{1,80})\.(up|down)(?:\.(sqlite|postgres))?\.sql$`)

// Check reads the migrations of the module in dir as for each dialect, which must have the same ones.
func Check(dir string) error {
	var first []Migration
	for _, dialect := range []string{step.SQLite, step.PostgreSQL} {
		all, err := Load(dir, dialect)
		if err != nil {
			return err
		}
		if first == nil {
			first = all
		}
		for _, pair := range [][2][]Migration{{first, all}, {all, first}} {
			for _, m := range pair[0] {
				if Find(pair[1], m.ID).ID == "" {
					return at(m.ID+".up.sql", "it is there for one kind of database only", "write it for sqlite and for postgres")
				}
			}
		}
	}
	return nil
}

// Next is the number that the next migration of the module in dir may have: one above the highest. The folder need not exist.
func Next(dir string) (int, error) {
	all, err := os.ReadDir(filepath.Join(dir, Folder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("read %s: %w", Folder, err)
	}
	last := 0
	for _, entry := range all {
		part := fileName.FindStringSubmatch(entry.Name())
		if part == nil {
			continue // nothing that was applied can have its number
		}
		number, err := strconv.Atoi(part[2])
		if err != nil {
			return 0, fmt.Errorf("read the number of %s: %w", entry.Name(), err)
		}
		last = max(last, number)
	}
	if last == maxNumber {
		return 0, fmt.Errorf("%s holds number %d, and there is none above (fix: join old migrations that every installation "+
			"has applied)", Folder, last)
	}
	return last + 1, nil
}

// Load reads the migrations of the module in dir, in their order, as they are for a dialect (step.SQLite, step.PostgreSQL): a
// file of that dialect takes the place of the one for all. Nothing outside of the folder is read. Each error names the
// file, and the line where there is one.
func Load(dir, dialect string) (all []Migration, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("read the module's folder: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	folder, err := root.OpenRoot(Folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no folder %s (fix: make it, with 0001_NAME.up.sql in it, or remove `migrations: sql`)", Folder)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w (fix: make it a folder of the module's own)", Folder, err)
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	names, err := list(folder)
	if err != nil {
		return nil, err
	}
	return load(folder, names, dialect)
}

// list returns the names of the files, sorted.
func list(folder *os.Root) ([]string, error) {
	dir, err := folder.Open(".")
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", Folder, err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxFiles + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", Folder, err)
	}
	if len(names) > maxFiles {
		return nil, fmt.Errorf("%s holds over %d files (fix: join old ones that every installation has applied)", Folder, maxFiles)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(name, ".") })
	slices.Sort(names)
	return names, nil
}

func load(folder *os.Root, names []string, dialect string) ([]Migration, error) {
	var all []Migration
	for _, name := range names {
		part := fileName.FindStringSubmatch(name)
		if part == nil {
			return nil, at(name, "its name is not NNNN_name.up.sql or NNNN_name.down.sql, with lower-case letters, digits and _",
				"rename it, for example 0001_posts.up.sql")
		}
		id, number, direction := part[1], part[2], part[3]
		if part[4] != "" && part[4] != dialect || part[4] == "" && slices.Contains(names, own(id, direction, dialect)) {
			continue // the other dialect's, or replaced by this one's
		}
		if n := len(all); n == 0 || all[n-1].ID != id {
			if n > 0 && strings.HasPrefix(all[n-1].ID, number+"_") {
				return nil, at(name, "its number is that of "+all[n-1].ID, "give every migration its own")
			}
			all = append(all, Migration{ID: id})
		}
		if err := all[len(all)-1].read(folder, name, direction, dialect); err != nil {
			return nil, err
		}
	}
	return all, complete(all)
}

func own(id, direction, dialect string) string { return id + "." + direction + "." + dialect + ".sql" }

// complete refuses a module without migrations, and what can only be undone.
func complete(all []Migration) error {
	if len(all) == 0 {
		return fmt.Errorf("%s holds no migration (fix: write 0001_NAME.up.sql, or remove `migrations: sql`)", Folder)
	}
	for _, m := range all {
		if m.Up == nil {
			return at(m.ID+".down.sql", "there is no "+m.ID+".up.sql", "write it, or remove this one")
		}
	}
	return nil
}

func (m *Migration) read(folder *os.Root, name, direction, dialect string) error {
	content, err := readFile(folder, name)
	if err != nil {
		return err
	}
	statements, err := split(name, content, dialect)
	if err != nil {
		return err
	}
	firstLine, _, _ := strings.Cut(content, "\n")
	loose := strings.TrimSpace(firstLine) == untied
	for _, s := range statements {
		if err := allow(s, dialect, !loose); err != nil {
			return fmt.Errorf("%s/%s:%d: %w", Folder, name, s.Line, err)
		}
	}
	texts := make([]string, len(statements))
	for i, s := range statements {
		texts[i] = s.Text
	}
	if direction == "down" {
		m.Down, m.DownUntied = texts, loose
		return nil
	}
	sum := sha256.Sum256([]byte(content))
	m.Up, m.UpUntied, m.Checksum = texts, loose, hex.EncodeToString(sum[:])
	return nil
}

func split(name, content, dialect string) ([]step.Statement, error) {
	statements, err := step.Split(content, dialect)
	var syntax *step.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return nil, fmt.Errorf("%s/%s:%d: %s (fix: close it)", Folder, name, syntax.Line, syntax.Reason)
	case err != nil:
		return nil, err
	case len(statements) == 0:
		return nil, at(name, "it holds no statement", "write SQL into it, or remove it")
	}
	return statements, nil
}

// allow refuses what no migration may do, and on SQLite what would leave the module's own file.
func allow(s step.Statement, dialect string, inTransaction bool) error {
	if err := step.Allow(s.Text, dialect, inTransaction); err != nil {
		return err
	}
	if dialect != step.SQLite {
		return nil
	}
	switch word := step.FirstWord(s.Text); word {
	case "PRAGMA":
		return errors.New("PRAGMA changes how the file is kept, which is the platform's business (fix: remove it)")
	case "ATTACH", "DETACH":
		return fmt.Errorf("%s reaches for other files, and a module has one (fix: call the other module)", word)
	}
	return nil
}

func readFile(folder *os.Root, name string) (string, error) {
	info, err := folder.Lstat(name)
	if err != nil {
		return "", fmt.Errorf("read %s/%s: %w", Folder, name, err)
	}
	if !info.Mode().IsRegular() {
		return "", at(name, "it is not a regular file", "put the file itself there")
	}
	file, err := folder.Open(name)
	if err != nil {
		return "", fmt.Errorf("read %s/%s: %w", Folder, name, err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("read %s/%s: %w", Folder, name, err)
	case len(content) > maxBytes:
		return "", at(name, "it is larger than 1 MiB", "take it apart, or load data another way")
	case !utf8.Valid(content) || slices.Contains(content, 0):
		return "", at(name, "it is not UTF-8 text", "save it as UTF-8, without zero bytes")
	}
	return strings.TrimPrefix(string(content), "\ufeff"), nil
}

func at(name, what, fix string) error {
	return fmt.Errorf("%s/%s: %s (fix: %s)", Folder, name, what, fix)
}
