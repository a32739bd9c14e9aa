package contracts

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	maxMismatches = 5       // that are told of a method
	maxCompared   = 200_000 // fields and values of enums, for one consumer and one provider
)

// Mismatch is one thing in which a consumer and a provider do not fit.
type Mismatch struct {
	Method string // full name: /package.Service/Method
	What   string // such as "field platformd.billing.v1.Plan.price (number 2) is string in blog, but int64 in billing"
}

// comparison finds out whether a consumer, built against its own copy of the descriptors, can call a provider. The rules are
// those by which protobuf lets a message change (https://protobuf.dev/programming-guides/proto3/#updating), and buf's category
// WIRE: what one side writes the other must be able to read, and a field that the consumer knows must not be unknown to the
// provider.
type comparison struct {
	consumer, provider string

	compared int
	found    []Mismatch

	method string // that is being compared, and the rest with it
	told   int
	seen   map[pair]bool
}

// pair is two messages, one of each side, and which way they travel.
type pair struct {
	mine, theirs protoreflect.FullName
	request      bool
}

func (c *comparison) mismatch(format string, args ...any) {
	if c.told < maxMismatches {
		c.found = append(c.found, Mismatch{Method: c.method, What: fmt.Sprintf(format, args...)})
	}
	c.told++
}

// exhausted reports whether there is enough to tell, or too much to compare: who sends descriptors decides how large they are.
func (c *comparison) exhausted() bool {
	if c.compared > maxCompared {
		c.told = min(c.told, maxMismatches-1)
		c.mismatch("the messages of the two modules are too large to compare")
		return true
	}
	return c.told >= maxMismatches
}

// compare returns what keeps the consumer from calling the provider's method; mine is the consumer's copy of it.
func (c *comparison) compare(mine protoreflect.MethodDescriptor, theirs protoreflect.ServiceDescriptor) {
	c.method, c.told, c.seen = fmt.Sprintf("/%s/%s", mine.Parent().FullName(), mine.Name()), 0, map[pair]bool{}
	method := theirs.Methods().ByName(mine.Name())
	if method == nil {
		c.mismatch("%s has no such method", c.provider)
		return
	}
	if here, there := kindOf(mine), kindOf(method); here != there {
		c.mismatch("it is %s in %s, but %s in %s", here, c.consumer, there, c.provider)
		return
	}
	c.messages(mine.Input(), method.Input(), true)
	c.messages(mine.Output(), method.Output(), false)
}

func kindOf(m protoreflect.MethodDescriptor) string {
	switch {
	case m.IsStreamingClient() && m.IsStreamingServer():
		return "a stream both ways"
	case m.IsStreamingClient():
		return "a stream of requests"
	case m.IsStreamingServer():
		return "a stream of answers"
	}
	return "unary"
}

// messages compares two messages and all that they hold. They may hold themselves.
func (c *comparison) messages(mine, theirs protoreflect.MessageDescriptor, request bool) {
	queue := [][2]protoreflect.MessageDescriptor{{mine, theirs}}
	for ; len(queue) > 0; queue = queue[1:] {
		mine, theirs := queue[0][0], queue[0][1]
		id := pair{mine.FullName(), theirs.FullName(), request}
		if c.seen[id] {
			continue
		}
		c.seen[id] = true
		c.required(mine, theirs, request)
		for i := range mine.Fields().Len() {
			if c.exhausted() {
				return
			}
			field := mine.Fields().Get(i)
			other := theirs.Fields().ByNumber(field.Number())
			if c.fields(field, other, request) && field.Message() != nil {
				queue = append(queue, [2]protoreflect.MessageDescriptor{field.Message(), other.Message()})
			}
		}
	}
}

// required: who reads refuses a message without a field that it requires.
func (c *comparison) required(mine, theirs protoreflect.MessageDescriptor, request bool) {
	writer, reader, name := theirs, mine, c.provider
	if request {
		writer, reader, name = mine, theirs, c.consumer
	}
	for i := range reader.RequiredNumbers().Len() {
		c.compared++
		number := reader.RequiredNumbers().Get(i)
		if !writer.RequiredNumbers().Has(number) {
			c.mismatch("%s is required, but not in %s", called(reader.Fields().ByNumber(number)), name)
		}
	}
}

// fields reports whether two fields fit; what they hold is not looked at.
func (c *comparison) fields(mine, theirs protoreflect.FieldDescriptor, request bool) bool {
	c.compared++
	if theirs == nil {
		c.mismatch("%s of %s does not exist in %s", called(mine), c.consumer, c.provider)
		return false
	}
	from, to := theirs, mine
	if request {
		from, to = mine, theirs
	}
	if mine.IsList() != theirs.IsList() || mine.IsMap() != theirs.IsMap() || !readable(from.Kind(), to.Kind()) {
		c.mismatch("%s is %s in %s, but %s in %s", called(mine), typeOf(mine), c.consumer, typeOf(theirs), c.provider)
		return false
	}
	if request && mine.Enum() != nil && theirs.Enum() != nil {
		c.values(mine, theirs)
	}
	return true
}

// values: a value that the consumer may send must mean something to the provider.
func (c *comparison) values(mine, theirs protoreflect.FieldDescriptor) {
	values := mine.Enum().Values()
	for i := range values.Len() {
		c.compared++
		value := values.Get(i)
		if theirs.Enum().Values().ByNumber(value.Number()) == nil {
			c.mismatch("%s can be %.255s (%d) in %s, which %s does not know", called(mine), value.Name(), value.Number(), c.consumer,
				c.provider)
		}
	}
}

func called(f protoreflect.FieldDescriptor) string {
	return fmt.Sprintf("field %.255s (number %d)", f.FullName(), f.Number())
}

func typeOf(f protoreflect.FieldDescriptor) string {
	switch {
	case f.IsMap():
		return "a map"
	case f.IsList():
		return "repeated " + f.Kind().String()
	}
	return f.Kind().String()
}

// readable tells whether what is written as one kind can be read as another.
func readable(from, to protoreflect.Kind) bool {
	if from == to || from == protoreflect.StringKind && to == protoreflect.BytesKind {
		return true
	}
	for _, alike := range [][]protoreflect.Kind{
		{
			protoreflect.Int32Kind, protoreflect.Int64Kind, protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.BoolKind,
			protoreflect.EnumKind,
		},
		{protoreflect.Sint32Kind, protoreflect.Sint64Kind},
		{protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind},
		{protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind},
	} {
		if slices.Contains(alike, from) && slices.Contains(alike, to) {
			return true
		}
	}
	return false
}
