package amqp

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/platformd/platformd/core/internal/bus"
)

// An event on the broker is in the binary mode of the CloudEvents binding for AMQP: its attributes are headers whose names begin
// with cloudEvents_, its data is the body, its content type the property of that name. The binding is for AMQP 1.0, where headers
// are application properties; RabbitMQ makes the one of the other. Headers that begin with cloudEvents: are understood, too.
const (
	attribute      = "cloudEvents_"
	otherAttribute = "cloudEvents:"
	defaultContent = "application/json"
)

// Headers of our own. They say what has become of a delivery so far; the property message-id is that of the publication.
const (
	headerAttempt      = "platformd_attempt"      // the number of the one that comes; absent is 1
	headerDue          = "platformd_due"          // not before, in milliseconds since 1970; absent is now
	headerSubscription = "platformd_subscription" // of a dead letter, like those below
	headerReason       = "platformd_reason"
	headerError        = "platformd_error"
	headerDied         = "platformd_died"
	headerLetter       = "platformd_letter" // its ID
)

// encode is the message for an event. publication names one publication of it: also one that is sent twice, because nobody knows
// whether it arrived.
func encode(e *bus.Event, publication string) amqp091.Publishing {
	headers := amqp091.Table{
		attribute + "specversion": "1.0",
		attribute + "id":          e.ID,
		attribute + "source":      e.Source,
		attribute + "type":        e.Type,
		attribute + "typeversion": int64(e.Version),
		attribute + "time":        e.Time.UTC().Format(time.RFC3339Nano),
	}
	for name, value := range map[string]string{"subject": e.Subject, "partitionkey": e.Key, "traceparent": e.TraceParent} {
		if value != "" {
			headers[attribute+name] = value
		}
	}
	content := e.ContentType
	if content == "" {
		content = defaultContent
	}
	return amqp091.Publishing{
		Headers: headers, ContentType: content, DeliveryMode: amqp091.Persistent, MessageId: publication, Body: e.Data,
	}
}

// publication is the name of a new one.
func publication() string { return uuid.NewString() }

// decode is the event of a message. What is no event comes with an error, and as far as it could be read.
func decode(m *amqp091.Delivery) (bus.Event, error) {
	e := bus.Event{
		ID: text(m.Headers, "id"), Source: text(m.Headers, "source"), Type: text(m.Headers, "type"),
		Subject: text(m.Headers, "subject"), Key: text(m.Headers, "partitionkey"), TraceParent: text(m.Headers, "traceparent"),
		ContentType: m.ContentType, Data: m.Body, Version: 1,
	}
	if version := text(m.Headers, "typeversion"); version != "" { // who else publishes need not know it
		number, err := strconv.Atoi(version)
		if err != nil {
			return e, fmt.Errorf("its typeversion %.40q is no number", version)
		}
		e.Version = number
	}
	if spec := text(m.Headers, "specversion"); spec != "1.0" {
		return e, fmt.Errorf("it is no CloudEvent 1.0 in binary mode: its header %sspecversion is %.40q", attribute, spec)
	}
	switch written := text(m.Headers, "time"); {
	case written != "":
		at, err := time.Parse(time.RFC3339Nano, written)
		if err != nil {
			return e, fmt.Errorf("its time %.40q is none", written)
		}
		e.Time = at.UTC()
	case !m.Timestamp.IsZero():
		e.Time = m.Timestamp.UTC()
	}
	return e, e.Check()
}

// text is an attribute as the specification writes it.
func text(headers amqp091.Table, name string) string {
	value, ok := headers[attribute+name]
	if !ok {
		value, ok = headers[otherAttribute+name]
	}
	if !ok {
		return ""
	}
	return plain(value)
}

func plain(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case nil:
		return ""
	default:
		return fmt.Sprint(v)
	}
}

// number is a header of our own; absent or none is 0.
func number(headers amqp091.Table, name string) int64 {
	n, err := strconv.ParseInt(plain(headers[name]), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// attempt is the number of the attempt that a message is for.
func attempt(m *amqp091.Delivery) int { return max(1, int(number(m.Headers, headerAttempt))) }

// again is the message that is published in place of one that was consumed.
func again(m *amqp091.Delivery, headers amqp091.Table) amqp091.Publishing {
	for name, value := range m.Headers {
		if _, set := headers[name]; set || len(name) > 1 && name[:2] == "x-" { // the broker's own
			continue
		}
		switch name {
		case headerAttempt, headerDue, headerSubscription, headerReason, headerError, headerDied, headerLetter:
		default:
			headers[name] = value
		}
	}
	return amqp091.Publishing{
		Headers: headers, ContentType: m.ContentType, ContentEncoding: m.ContentEncoding, DeliveryMode: amqp091.Persistent,
		MessageId: m.MessageId, Timestamp: m.Timestamp, Type: m.Type, AppId: m.AppId, Body: m.Body,
	}
}

// identity is what a delivery is known by when it comes again.
func identity(m *amqp091.Delivery) string {
	body := ""
	if m.MessageId == "" { // not published by us
		body = string(m.Body)
	}
	return digest(m.MessageId, text(m.Headers, "source"), text(m.Headers, "id"), body)
}

func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// letterID is the same for a delivery however often it dies of the same publication: whoever wrote the letter may have been
// killed before the broker knew that the delivery is done with. at tells those apart that name no publication.
func letterID(subscription string, m *amqp091.Delivery, at string) string {
	if m.MessageId != "" {
		at = ""
	}
	return digest(subscription, identity(m), at)
}
