package e2e

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

// removeFromBroker removes what a platform had on the broker. It finds that by the broker's own command, which root may use where
// the broker runs; elsewhere it stays, and harms nobody.
func removeFromBroker(t *testing.T, url, prefix string) {
	t.Helper()
	queues, ok := listBroker("list_queues", prefix)
	if !ok {
		t.Logf("what begins with %s stays on the broker: rabbitmqctl does not work here", prefix)
		return
	}
	exchanges, _ := listBroker("list_exchanges", prefix)
	conn, err := amqp091.Dial(url)
	require.NoError(t, err)
	defer conn.Close()
	ch, err := conn.Channel()
	require.NoError(t, err)
	for _, name := range queues {
		_, err := ch.QueueDelete(name, false, false, false)
		require.NoError(t, err)
	}
	for _, name := range exchanges {
		require.NoError(t, ch.ExchangeDelete(name, false, false))
	}
}

// listBroker returns the names of queues or exchanges that begin with prefix.
func listBroker(command, prefix string) (names []string, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // the test's own context has ended
	defer cancel()
	out, err := exec.CommandContext(ctx, "rabbitmqctl", "-q", command, "name").Output()
	if err != nil {
		return nil, false
	}
	for name := range strings.Lines(string(out)) {
		if name = strings.TrimSpace(name); strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names, true
}
