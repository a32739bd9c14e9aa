package contestant

import (
	"context"

	"github.com/platformd/platformd/scripts/bench/internal/proc"
	"github.com/platformd/platformd/scripts/bench/internal/scenario"
)

// rawBroker is the contestant that others over RabbitMQ are compared with.
const rawBroker = "amqp091"

// messengers publish events and handle them. The embedded bus keeps them elsewhere, and is compared with nobody.
func messengers() []Contestant {
	return []Contestant{
		{
			Name: rawBroker, What: "amqp091-go alone: a topic exchange, a quorum queue, confirms, mandatory",
			Subject: scenario.Events, Against: rawBroker,
			broker: true, needs: []string{"amqp091"}, start: startMessenger("amqp091"),
		},
		{
			Name: "amqp091-direct", What: "the same, with messages that name their queue", Subject: scenario.Events, Against: rawBroker,
			broker: true, needs: []string{"amqp091"}, start: startMessenger("amqp091", "direct"),
		},
		{
			Name: "rabbitmq", What: "platformd, module → core → RabbitMQ → core → module", Subject: scenario.Events, Against: rawBroker,
			broker: true, needs: []string{"events"}, start: startEvents("rabbitmq", true),
		},
		{
			Name: "watermill", What: "Watermill's AMQP adapter: a quorum queue, confirms, mandatory, a channel per caller",
			Subject: scenario.Events, Against: rawBroker,
			broker: true, needs: []string{"watermill"}, start: startMessenger("watermill"),
		},
		{
			Name: "embedded", What: "platformd, module → core → its own bus on SQLite → module", Subject: scenario.Events,
			needs: []string{"events"}, start: startEvents("embedded", false),
		},
	}
}

// startMessenger runs one process that publishes and consumes.
func startMessenger(name string, more ...string) func(context.Context, *Site, string) ([]*proc.Process, error) {
	return func(ctx context.Context, s *Site, address string) ([]*proc.Process, error) {
		p, err := s.run(ctx, name, s.bin(name), append([]string{address, s.broker.URL, s.broker.Name()}, more...)...)
		if err != nil {
			return nil, err
		}
		return []*proc.Process{p}, nil
	}
}

// startEvents runs a daemon with a module that publishes and consumes.
func startEvents(name string, onBroker bool) func(context.Context, *Site, string) ([]*proc.Process, error) {
	return func(ctx context.Context, s *Site, address string) ([]*proc.Process, error) {
		platform := Platform{Name: name, Binary: "events", Address: address}
		if onBroker {
			platform.Broker, platform.Exchange = s.broker.URL, s.broker.Name()
		}
		p, err := s.StartPlatform(ctx, platform)
		if err != nil {
			return nil, err
		}
		return []*proc.Process{p.Process}, nil
	}
}
