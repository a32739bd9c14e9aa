package storage

import (
	"context"
	"strings"

	"github.com/platformd/platformd/plugin-api/db/postgres"
)

// examine looks at what keeps modules in their places, and what does not.
func (s *server) examine(ctx context.Context) ([]Finding, error) {
	if s.Isolation == IsolationSchema {
		return []Finding{{
			Name:   "database isolation",
			Detail: "modules are trusted: each gets platformd's own credentials, and could use the data of all others",
			Fix:    "let platformd's role create roles (ALTER ROLE … CREATEROLE), and remove database.isolation",
		}}, nil
	}
	var found []Finding
	open, err := openDoors(s.db.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	for _, door := range open {
		found = append(found, Finding{Name: door.Name, Detail: door.Detail, Fix: "as a superuser: " + door.Statement})
	}
	others, err := s.otherDatabases(ctx)
	if err != nil {
		return nil, err
	}
	return append(append(found, others...), s.trust(ctx)...), nil
}

// otherDatabases: roles belong to the whole server, and most databases let everybody in.
func (s *server) otherDatabases(ctx context.Context) ([]Finding, error) {
	var names []string
	err := s.db.WithContext(ctx).Raw("SELECT quote_ident(datname) FROM pg_database WHERE datallowconn "+
		"AND datname <> current_database() AND has_database_privilege(?, oid, 'CONNECT') ORDER BY 1", s.modules()).Scan(&names).Error
	if err != nil || len(names) == 0 {
		return nil, err
	}
	list := strings.Join(names, ", ")
	return []Finding{{
		Name:   "other databases",
		Detail: "modules may connect to other databases of the server, as every role may: " + list,
		Fix:    "as their owner: REVOKE CONNECT ON DATABASE " + list + " FROM PUBLIC (and grant it to whom it is for)",
	}}, nil
}

// trust asks the server to let in a role that does not exist: one that asks for passwords asks for this one too. A server that
// does not would let a module in under any name.
func (s *server) trust(ctx context.Context) []Finding {
	stranger := s.address.with(s.names.modules()+"_"+randomHex(4), newPassword(), "")
	db, err := postgres.Open(ctx, stranger, postgres.Options{MaxConns: 1, RootCertificates: s.address.roots})
	if err == nil {
		_ = postgres.Close(db) // it should not exist
	} else if state := sqlState(err); state == stateNoPassword || state == "" {
		return nil
	}
	return []Finding{{
		Name:   "passwords",
		Detail: "the server does not ask for passwords here: a module could connect under any name, platformd's included",
		Fix:    "in the server's pg_hba.conf, write scram-sha-256 where it says trust, peer or ident",
	}}
}
