// Package pgserver makes databases for contestants on the PostgreSQL server that tests use, and takes them away again.
//
// It must not look into them, except for the name under which a platform made its roles: those belong to the whole server.
package pgserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/postgres"
)

// EnvURL names the variable with the URL of the server, as its superuser.
const EnvURL = "PLATFORMD_TEST_POSTGRESQL"

// defaultURL is where a server of Debian's listens for whoever may be its superuser on this machine.
const defaultURL = "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable"

const (
	connectPatience = 10 * time.Second
	dropPatience    = 30 * time.Second
)

// Server is a PostgreSQL server on which we may make databases.
type Server struct {
	admin *gorm.DB
	url   *url.URL
	made  []string // names of databases
}

// Connect reaches the server. An error means that there is none for us.
func Connect(ctx context.Context) (*Server, error) {
	source := os.Getenv(EnvURL)
	if source == "" {
		source = defaultURL
	}
	parsed, err := url.Parse(source)
	if err != nil {
		return nil, fmt.Errorf("%s is not a URL (fix: write postgres://USER:PASSWORD@HOST:PORT/DATABASE)", EnvURL)
	}
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	admin, err := postgres.Open(ctx, source, postgres.Options{MaxConns: 1})
	if err != nil {
		return nil, fmt.Errorf("reach a PostgreSQL server: %w (fix: scripts/services start, or set %s)", err, EnvURL)
	}
	return &Server{admin: admin, url: parsed}, nil
}

// Version is what the server calls itself, such as 15.20.
func (s *Server) Version(ctx context.Context) (string, error) {
	var version string
	if err := s.admin.WithContext(ctx).Raw("SHOW server_version").Scan(&version).Error; err != nil {
		return "", fmt.Errorf("ask PostgreSQL for its version: %w", err)
	}
	version, _, _ = strings.Cut(version, " ") // Debian adds its own
	return version, nil
}

// Create makes an empty database, and returns its URL as the server's superuser.
func (s *Server) Create(ctx context.Context) (string, error) {
	name := "pdbench_" + strings.ToLower(rand.Text()[:12])
	if err := s.admin.WithContext(ctx).Exec("CREATE DATABASE " + name).Error; err != nil {
		return "", fmt.Errorf("make a database: %w (fix: let %s name a superuser)", err, EnvURL)
	}
	s.made = append(s.made, name)
	return s.at(name), nil
}

func (s *Server) at(database string) string {
	u := *s.url
	u.Path = "/" + database
	return u.String()
}

// Close drops every database that Create made, with the roles that a platform made for it. Whoever used them must have ended.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), dropPatience)
	defer cancel()
	var problems []error
	for _, name := range s.made {
		if err := s.drop(ctx, name); err != nil {
			problems = append(problems, fmt.Errorf("drop the database %s: %w (fix: drop it by hand)", name, err))
		}
	}
	return errors.Join(append(problems, postgres.Close(s.admin))...)
}

func (s *Server) drop(ctx context.Context, name string) error {
	installation, err := s.installation(ctx, name)
	if err != nil {
		return err
	}
	if err := s.admin.WithContext(ctx).Exec("DROP DATABASE " + name + " WITH (FORCE)").Error; err != nil {
		return err
	}
	if installation == "" {
		return nil
	}
	var roles []string
	err = s.admin.WithContext(ctx).
		Raw("SELECT rolname FROM pg_roles WHERE starts_with(rolname, ?)", "pd_"+installation+"_").Scan(&roles).Error
	if err != nil {
		return err
	}
	for _, role := range roles {
		if err := s.admin.WithContext(ctx).Exec("DROP ROLE " + postgres.Quote(role)).Error; err != nil {
			return err
		}
	}
	return nil
}

// installation is the name that a platform's roles begin with; "" if no platform has used the database.
func (s *Server) installation(ctx context.Context, database string) (id string, err error) {
	db, err := postgres.Open(ctx, s.at(database), postgres.Options{MaxConns: 1})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, postgres.Close(db)) }()
	db = db.WithContext(ctx)
	var there bool
	if err := db.Raw("SELECT to_regclass('platformd.installation') IS NOT NULL").Scan(&there).Error; err != nil || !there {
		return "", err
	}
	err = db.Raw("SELECT id FROM platformd.installation").Scan(&id).Error
	return id, err
}
