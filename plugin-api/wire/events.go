package wire

import (
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/platformd/platformd/plugin-api/event"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// EventOnTheWire is an event as it travels between the core and a module. Its texts must be text: Event.Check sees to that.
func EventOnTheWire(e event.Event) *corev1.Event {
	sent := &corev1.Event{
		Id: e.ID, Source: e.Source, Type: e.Type, Version: int32(min(e.Version, math.MaxInt32)), //nolint:gosec // bounded here
		Subject: e.Subject, Key: e.Key, ContentType: e.ContentType, Data: e.Data, Traceparent: e.TraceParent,
	}
	if !e.Time.IsZero() {
		sent.Time = timestamppb.New(e.Time)
	}
	return sent
}

// EventOf is the event that came over the wire, of which nothing has been checked.
func EventOf(sent *corev1.Event) event.Event {
	e := event.Event{
		ID: sent.GetId(), Source: sent.GetSource(), Type: sent.GetType(), Version: int(sent.GetVersion()), Subject: sent.GetSubject(),
		Key: sent.GetKey(), ContentType: sent.GetContentType(), Data: sent.GetData(), TraceParent: sent.GetTraceparent(),
	}
	if sent.GetTime().IsValid() { // year 1 to 9999
		e.Time = sent.GetTime().AsTime().Truncate(time.Microsecond)
	}
	return e
}

// Text is text as a message can hold it, cut after a number of bytes.
func Text(text string, most int) string {
	if len(text) > most {
		text = text[:most]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
