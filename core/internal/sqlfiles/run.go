package sqlfiles

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/db/step"
)

// Command is the hidden command of our binary that does it.
const Command = "__migrate"

// Order is what the process is told, as JSON on its standard input: it holds credentials, which arguments would show.
type Order struct {
	Database      backend.Database
	Declared      []ledger.Declared
	ID            string
	Down          bool
	NoTransaction bool
	Statements    []string
}

// answer is what it says, as JSON on its standard output.
type answer struct {
	Statements []string
	Error      string
}

// NewOrder makes the order to run one of the migrations.
func NewOrder(database backend.Database, all []Migration, id string, down bool) (Order, error) {
	m := Find(all, id)
	order := Order{
		Database: database, Declared: Declared(all), ID: id, Down: down, NoTransaction: m.UpUntied, Statements: m.Up,
	}
	if !down {
		return order, nil
	}
	if m.Down == nil {
		return Order{}, fmt.Errorf("migration %s has no %[1]s.down.sql (fix: restore a backup made before it)", id)
	}
	order.NoTransaction, order.Statements = m.DownUntied, m.Down
	return order, nil
}

// ReadAnswer returns what ran, or what went wrong.
func ReadAnswer(text []byte) ([]string, error) {
	var said answer
	if err := json.Unmarshal(text, &said); err != nil {
		return nil, fmt.Errorf("read the answer of the migration's process: %w", err)
	}
	if said.Error != "" {
		return nil, errors.New(said.Error)
	}
	return said.Statements, nil
}

// Main does not return in a process that was started to run a migration. The program calls it before it does anything else.
func Main() {
	if len(os.Args) != 2 || os.Args[1] != Command {
		return
	}
	go dieWithCore()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	err := serve(ctx, os.Stdin, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "migrate:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// lifeline is the descriptor of a pipe whose other end the core holds; on Linux there is a death signal besides.
const lifeline = 3

func dieWithCore() {
	_, _ = io.Copy(io.Discard, os.NewFile(lifeline, "lifeline")) // nothing is ever written to it
	os.Exit(1)
}

func serve(ctx context.Context, in io.Reader, out io.Writer) error {
	var order Order
	if err := json.NewDecoder(in).Decode(&order); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	var said answer
	statements, err := order.carryOut(ctx)
	if err != nil {
		said.Error = err.Error()
	}
	said.Statements = statements
	return json.NewEncoder(out).Encode(said)
}

func (o Order) carryOut(ctx context.Context) (statements []string, err error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	db, err := backend.Open(ctx, o.Database, backend.Options{Migration: true, Alone: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, backend.Close(db)) }()
	return step.Run(ctx, db, o.Database.Ledger, step.Step{
		ID: o.ID, Down: o.Down, Declared: o.Declared, Statements: o.Statements, NoTransaction: o.NoTransaction,
	})
}

// check is what was done to the files, again: SQLite has no limit for PRAGMA as it has for ATTACH.
func (o Order) check() error {
	for i, text := range o.Statements {
		parts, err := step.Split(text, o.Database.Driver)
		if err != nil {
			return fmt.Errorf("statement %d: %w", i+1, err)
		}
		for _, part := range parts {
			if err := allow(part, o.Database.Driver, !o.NoTransaction); err != nil {
				return fmt.Errorf("statement %d: %w", i+1, err)
			}
		}
	}
	return nil
}
