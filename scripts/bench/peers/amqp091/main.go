// Command amqp091 is the contestant that others over RabbitMQ are compared with: the client library alone, with durable messages
// that a topic exchange routes to a quorum queue, confirms, and an acknowledgement for each delivery. With a fourth argument,
// "direct", messages name their queue, which the broker has less work with, and which nobody can subscribe to.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/platformd/platformd/scripts/bench/internal/broker"
	"github.com/platformd/platformd/scripts/bench/internal/eventload"
	"github.com/platformd/platformd/scripts/bench/internal/front"
)

func main() {
	if len(os.Args) < 4 || len(os.Args) > 5 || len(os.Args) == 5 && os.Args[4] != "direct" {
		fmt.Fprintf(os.Stderr, "usage: %s HOST:PORT URL NAME [direct]\n", os.Args[0])
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], names{os.Args[3], len(os.Args) == 5}); err != nil {
		fmt.Fprintln(os.Stderr, "error: "+err.Error())
		os.Exit(1)
	}
}

// names are those of what the contestant makes on the broker.
type names struct {
	begin  string
	direct bool
}

// declare makes the queue, and what routes to it.
func (n names) declare(ch *amqp091.Channel) (exchange, key string, err error) {
	queue := broker.Queue(n.begin)
	_, err = ch.QueueDeclare(queue, true, false, false, false, amqp091.Table{amqp091.QueueTypeArg: amqp091.QueueTypeQuorum})
	if err != nil || n.direct {
		return "", queue, err
	}
	exchange = broker.Exchange(n.begin)
	if err := ch.ExchangeDeclare(exchange, amqp091.ExchangeTopic, true, false, false, false, nil); err != nil {
		return "", "", err
	}
	return exchange, eventload.Type, ch.QueueBind(queue, eventload.Type, exchange, false, nil)
}

func run(address, url string, n names) error {
	publishing, err := openChannel(url)
	if err != nil {
		return err
	}
	exchange, key, err := n.declare(publishing)
	if err == nil {
		err = publishing.Confirm(false)
	}
	if err != nil {
		return fmt.Errorf("make the queue: %w", err)
	}
	load := eventload.New(func(ctx context.Context, id string, data []byte) error {
		confirmation, err := publishing.PublishWithDeferredConfirmWithContext(ctx, exchange, key, true, false, message(id, data))
		if err != nil {
			return err
		}
		if taken, err := confirmation.WaitContext(ctx); err != nil || !taken {
			return errors.Join(errors.New("the broker did not take it"), err)
		}
		return nil
	})
	if err := consume(url, broker.Queue(n.begin), load); err != nil {
		return err
	}
	return front.Serve(address, load)
}

// openChannel opens a connection of its own for each purpose, as the broker wants it.
func openChannel(url string) (*amqp091.Channel, error) {
	conn, err := amqp091.Dial(url)
	if err != nil {
		return nil, fmt.Errorf("connect to the broker: %w", err)
	}
	ch, err := conn.Channel()
	if err != nil {
		return nil, fmt.Errorf("open a channel: %w", err)
	}
	return ch, nil
}

// message is an event as platformd's bus writes it.
func message(id string, data []byte) amqp091.Publishing {
	const attribute = "cloudEvents_"
	return amqp091.Publishing{
		Headers: amqp091.Table{
			attribute + "specversion": "1.0", attribute + "id": id, attribute + "source": "/modules/bench",
			attribute + "type": eventload.Type, attribute + "typeversion": int64(1), attribute + "subject": eventload.Subject,
			attribute + "time": time.Now().UTC().Format(time.RFC3339Nano),
		},
		ContentType: "application/json", DeliveryMode: amqp091.Persistent, MessageId: id, Body: data,
	}
}

func consume(url, queue string, load *eventload.Load) error {
	ch, err := openChannel(url)
	if err != nil {
		return err
	}
	if err := ch.Qos(eventload.Window, 0, false); err != nil {
		return fmt.Errorf("set the window: %w", err)
	}
	deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	go func() {
		for d := range deliveries {
			if err := errors.Join(load.Handle(context.Background(), d.MessageId), d.Ack(false)); err != nil {
				fmt.Fprintln(os.Stderr, "error: handle an event: "+err.Error())
			}
		}
	}()
	return nil
}
