// Command clerk is the module of the suites about data: its migrations can be held where they hurt most, and it runs whatever
// SQL it is sent, as itself, and keeps in the cache what it is given. Under the name scribe its migrations are SQL files.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
)

func main() {
	c := &clerk{}
	module := pluginapi.Module{
		Routes: map[string]pluginapi.Handler{"sql": c.sql, "source": c.source},
		Init:   c.start,
		Stop:   func(context.Context) error { return db.Close(c.db) },
	}
	if filepath.Base(os.Args[0]) != "scribe" {
		module.Migrations = db.Migrations(migrations()...)
		module.Routes["keep"], module.Routes["kept"] = c.keep, c.kept
	}
	pluginapi.Serve(module)
}

type clerk struct {
	core *pluginapi.Core
	db   *gorm.DB
}

func (c *clerk) start(ctx context.Context, core *pluginapi.Core) (err error) {
	c.core = core
	c.db, err = db.Open(ctx, core)
	return err
}

// sql runs the statement in the body, and answers with its rows, or with why the database refused it.
func (c *clerk) sql(w http.ResponseWriter, r *http.Request) error {
	statement, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	rows, err := c.db.WithContext(r.Context()).Raw(string(statement)).Rows()
	if err != nil {
		return status.Error(codes.PermissionDenied, err.Error())
	}
	defer func() { _ = rows.Close() }()
	values := []string{}
	for rows.Next() {
		var value any
		if err := rows.Scan(&value); err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		values = append(values, fmt.Sprint(value))
	}
	if err := rows.Err(); err != nil {
		return status.Error(codes.PermissionDenied, err.Error())
	}
	return pluginapi.WriteJSON(w, http.StatusOK, values)
}

// keep puts the body into the cache.
func (c *clerk) keep(w http.ResponseWriter, r *http.Request) error {
	value, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if err := c.core.Cache.Set(r.Context(), r.PathValue("key"), value, time.Hour); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// kept answers with what is in the cache.
func (c *clerk) kept(w http.ResponseWriter, r *http.Request) error {
	value, ok, err := c.core.Cache.Get(r.Context(), r.PathValue("key"))
	if err != nil {
		return err
	}
	if !ok {
		return status.Error(codes.NotFound, "there is nothing of that key (fix: keep it first)")
	}
	return pluginapi.WriteJSON(w, http.StatusOK, string(value))
}

// source answers where the module's data is, credentials included.
func (c *clerk) source(w http.ResponseWriter, _ *http.Request) error {
	return pluginapi.WriteJSON(w, http.StatusOK, c.core.Database)
}

// steps is how many migrations there are. Each writes a row to clerk_log, in which every step must be found once.
const steps = 6

func migrations() []db.Migration {
	all := []db.Migration{{ID: "0001_log", Up: func(tx *gorm.DB) error {
		if err := tx.Exec("CREATE TABLE clerk_log (step text NOT NULL)").Error; err != nil {
			return err
		}
		return note(tx, "0001_log")
	}}}
	for n := 2; n < steps; n++ {
		id, table := fmt.Sprintf("%04d_table", n), fmt.Sprintf("clerk_table%d", n)
		all = append(all, db.Migration{
			ID: id,
			Up: func(tx *gorm.DB) error {
				if err := tx.Exec("CREATE TABLE " + table + " (n integer)").Error; err != nil {
					return err
				}
				return note(tx, id)
			},
			Down: func(tx *gorm.DB) error {
				if err := tx.Exec("DELETE FROM clerk_log WHERE step = ?", id).Error; err != nil {
					return err
				}
				return tx.Exec("DROP TABLE " + table).Error
			},
		})
	}
	return append(all, db.Migration{ID: fmt.Sprintf("%04d_index", steps), NoTransaction: true, Up: index})
}

// index may be run again from any point.
func index(tx *gorm.DB) error {
	id := fmt.Sprintf("%04d_index", steps)
	if err := tx.Exec("CREATE INDEX IF NOT EXISTS clerk_log_step ON clerk_log (step)").Error; err != nil {
		return err
	}
	again := "INSERT INTO clerk_log (step) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM clerk_log WHERE step = ?)"
	if err := tx.Exec(again, id, id).Error; err != nil {
		return err
	}
	hold(id)
	return nil
}

func note(tx *gorm.DB, id string) error {
	if err := tx.Exec("INSERT INTO clerk_log (step) VALUES (?)", id).Error; err != nil {
		return err
	}
	hold(id)
	return nil
}

// hold stays in a step, after its writes, for as long as the module's folder, which the module cannot write to, has a file
// hold-ID in it.
func hold(id string) {
	if _, err := os.Stat("hold-" + id); err == nil {
		fmt.Fprintln(os.Stderr, "holding in "+id)
	}
	for {
		if _, err := os.Stat("hold-" + id); err != nil {
			return
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // a file tells nobody that it is gone
	}
}
