// Package broker gives contestants names on the RabbitMQ server that tests use, and takes away what they made there.
//
// It must not publish or consume.
package broker

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// EnvURL names the variable with the URL of the server.
const EnvURL = "PLATFORMD_TEST_RABBITMQ"

// defaultURL is where a server of Debian's listens, with the user that it lets in from this machine.
const defaultURL = "amqp://guest:guest@127.0.0.1:5672/"

const connectPatience = 10 * time.Second

// Server is a RabbitMQ server on which contestants may make queues.
type Server struct {
	URL  string
	conn *amqp091.Connection
	made []string // what the names of queues and exchanges begin with
}

// Connect reaches the server. An error means that there is none for us.
func Connect(ctx context.Context) (*Server, error) {
	url := cmp.Or(os.Getenv(EnvURL), defaultURL)
	conn, err := amqp091.DialConfig(url, amqp091.Config{Dial: func(network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{Timeout: connectPatience}).DialContext(ctx, network, address)
		if err == nil {
			err = conn.SetDeadline(time.Now().Add(connectPatience)) // the library takes it away after the handshake
		}
		return conn, err
	}})
	if err != nil {
		return nil, fmt.Errorf("reach a RabbitMQ server: %w (fix: scripts/services start, or set %s)", err, EnvURL)
	}
	return &Server{URL: url, conn: conn}, nil
}

// Version is what the server calls itself, such as 3.10.8.
func (s *Server) Version() string {
	version, _ := s.conn.Properties["version"].(string)
	return cmp.Or(version, "unknown")
}

// Name returns the beginning of names that nobody else has.
func (s *Server) Name() string {
	name := "pdbench" + strings.ToLower(rand.Text()[:12])
	s.made = append(s.made, name)
	return name
}

// Queue is where the events wait of a contestant that names what it has itself.
func Queue(name string) string { return name + ".queue" }

// Exchange routes events to that queue.
func Exchange(name string) string { return name + ".events" }

// queues are those of contestants, and those that platformd makes for the one subscription of the module bench.
func queues(name string) []string {
	subscription := ".bench.bench.thing.happened"
	all := []string{Queue(name), name + ".dead", name + ".sub" + subscription}
	for _, pause := range []string{"100ms", "1s", "5s", "30s", "2m", "10m"} {
		all = append(all, name+".retry"+subscription+"."+pause)
	}
	return all
}

// Close removes what contestants have made. They must have ended.
func (s *Server) Close() error {
	ch, err := s.conn.Channel()
	if err != nil {
		return fmt.Errorf("clear the RabbitMQ server: %w", err)
	}
	var problems []error
	for _, name := range s.made {
		for _, queue := range queues(name) {
			_, err := ch.QueueDelete(queue, false, false, false) // one that is not there is no error
			problems = append(problems, err)
		}
		for _, exchange := range []string{".events", ".tail", ".ask"} {
			problems = append(problems, ch.ExchangeDelete(name+exchange, false, false))
		}
	}
	return errors.Join(append(problems, s.conn.Close())...)
}
