// Command watermill is Watermill's adapter for AMQP, with durable messages to a quorum queue and confirms. It waits for one
// confirm at a time on each channel, so that it has a channel for each caller.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/message"
	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/platformd/platformd/scripts/bench/internal/broker"
	"github.com/platformd/platformd/scripts/bench/internal/eventload"
	"github.com/platformd/platformd/scripts/bench/internal/front"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintf(os.Stderr, "usage: %s HOST:PORT URL NAME\n", os.Args[0])
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "error: "+err.Error())
		os.Exit(1)
	}
}

func run(address, url, name string) error {
	queue := broker.Queue(name)
	config := amqp.NewDurableQueueConfig(url)
	config.Queue.Arguments = amqp091.Table{amqp091.QueueTypeArg: amqp091.QueueTypeQuorum}
	config.Publish.ConfirmDelivery, config.Publish.Mandatory = true, true
	config.Publish.ChannelPoolSize = eventload.Window
	config.Consume.Qos.PrefetchCount = eventload.Window
	logger := watermill.NewStdLogger(false, false)
	subscriber, err := amqp.NewSubscriber(config, logger)
	if err != nil {
		return fmt.Errorf("make the subscriber: %w", err)
	}
	messages, err := subscriber.Subscribe(context.Background(), queue) // which makes the queue
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	publisher, err := amqp.NewPublisher(config, logger)
	if err != nil {
		return fmt.Errorf("make the publisher: %w", err)
	}
	load := eventload.New(func(ctx context.Context, id string, data []byte) error {
		m := message.NewMessage(id, data)
		m.Metadata = attributes(id)
		m.SetContext(ctx)
		return publisher.Publish(queue, m)
	})
	go func() {
		for m := range messages {
			if err := load.Handle(m.Context(), m.UUID); err != nil {
				m.Nack()
				continue
			}
			m.Ack()
		}
	}()
	return front.Serve(address, load)
}

// attributes are those of a CloudEvent as platformd's bus writes them.
func attributes(id string) message.Metadata {
	const attribute = "cloudEvents_"
	return message.Metadata{
		attribute + "specversion": "1.0", attribute + "id": id, attribute + "source": "/modules/bench",
		attribute + "type": eventload.Type, attribute + "typeversion": "1", attribute + "subject": eventload.Subject,
		attribute + "time": time.Now().UTC().Format(time.RFC3339Nano),
	}
}
