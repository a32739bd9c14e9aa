package contracts_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/platformd/platformd/core/internal/contracts"
)

// fieldCases are what the consumer was built against, what the provider serves, and what is said of it; "" = they fit.
var fieldCases = map[string]struct{ mine, theirs, want string }{
	"the same":           {"Answer: 1 name string", "Answer: 1 name string", ""},
	"more than is known": {"Answer: 1 name string", "Answer: 1 name string; 2 price int64", ""},
	"another name":       {"Answer: 1 name string", "Answer: 1 title string", ""},
	"a field that is gone": {
		"Answer: 1 name string; 2 price int64", "Answer: 1 name string",
		"Answer.price (number 2) of blog does not exist in shop",
	},
	"a field that is new": {
		"Request: 1 id string", "",
		"Request.id (number 1) of blog does not exist in shop",
	},
	"another number":           {"Answer: 1 name string", "Answer: 2 name string", "Answer.name (number 1)"},
	"a wider number":           {"Answer: 1 n int32", "Answer: 1 n uint64", ""},
	"a bool that was a number": {"Answer: 1 n int32", "Answer: 1 n bool", ""},
	"zigzag":                   {"Answer: 1 n sint32", "Answer: 1 n sint64", ""},
	"zigzag or not":            {"Answer: 1 n int64", "Answer: 1 n sint64", "is int64 in blog, but sint64 in shop"},
	"fixed":                    {"Answer: 1 n fixed64", "Answer: 1 n sfixed64", ""},
	"another width": {
		"Answer: 1 n fixed64", "Answer: 1 n fixed32",
		"is fixed64 in blog, but fixed32 in shop",
	},
	"double and fixed64":    {"Answer: 1 n double", "Answer: 1 n fixed64", "is double in blog"},
	"text and number":       {"Answer: 1 n int64", "Answer: 1 n string", "is int64 in blog, but string in shop"},
	"sent text, read bytes": {"Request: 1 n string", "Request: 1 n bytes", ""},
	"sent bytes, read text": {
		"Request: 1 n bytes", "Request: 1 n string",
		"is bytes in blog, but string in shop",
	},
	"answered bytes": {"Answer: 1 n string", "Answer: 1 n bytes", "is string in blog, but bytes in shop"},
	"answered text":  {"Answer: 1 n bytes", "Answer: 1 n string", ""},
	"one and several": {
		"Answer: 1 n string", "Answer: 1 n repeated string",
		"is string in blog, but repeated string in shop",
	},
	"several and one": {
		"Request: 1 n repeated int64", "Request: 1 n int64",
		"is repeated int64 in blog, but int64 in shop",
	},
	"a message and bytes": {
		"Answer: 1 n Plan\nPlan:", "Answer: 1 n bytes",
		"is message in blog, but bytes in shop",
	},
	"deeper": {
		"Answer: 1 n Plan\nPlan: 1 p Price\nPrice: 7 n int64", "Answer: 1 n Plan\nPlan: 1 p Price\nPrice: 7 n string",
		"field shop.v1.Price.n (number 7) is int64",
	},
	"another name of a type": {"Answer: 1 n Plan\nPlan: 1 p int64", "Answer: 1 n Offer\nOffer: 1 p int64", ""},
	"itself":                 {"Answer: 1 next Answer; 2 n int64", "Answer: 1 next Answer; 2 n int64", ""},
	"both ways, one fits": {
		"Request: 1 p Plan\nAnswer: 1 p Plan\nPlan: 1 n string", "Request: 1 p Plan\nAnswer: 1 p Plan\nPlan: 1 n bytes",
		"is string in blog, but bytes in shop",
	},
	"required, and not sent": {
		"", "Request: 1 id required string",
		"field shop.v1.Request.id (number 1) is required, but not in blog",
	},
	"required, and sent": {"Request: 1 id required string", "Request: 1 id required string", ""},
	"required by the consumer": {
		"Answer: 1 id required string", "Answer: 1 id string",
		"is required, but not in shop",
	},
	"sent a known value": {"enum K: A B\nRequest: 1 k K", "enum K: A B C\nRequest: 1 k K", ""},
	"sent an unknown value": {
		"enum K: A B C\nRequest: 1 k K", "enum K: A B\nRequest: 1 k K",
		"can be C (2) in blog, which shop does not know",
	},
	"answered fewer values": {"enum K: A B C\nAnswer: 1 k K", "enum K: A B\nAnswer: 1 k K", ""},
	"an enum and a number":  {"enum K: A\nAnswer: 1 k K", "Answer: 1 k int32", ""},
	"an enum and text": {
		"enum K: A\nAnswer: 1 k K", "Answer: 1 k string",
		"is enum in blog, but string in shop",
	},
}

func TestWhatAConsumerNeedsMustBeServed(t *testing.T) {
	t.Parallel()
	for name, c := range fieldCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := meet(t, service, file(t, c.mine), file(t, c.theirs))
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "shop.v1.Plans/Get")
			require.ErrorContains(t, err, "(fix: ")
		})
	}
}

// meet files both in a book, in either order, and returns what it says of them.
func meet(t *testing.T, consumes string, mine, theirs *descriptorpb.FileDescriptorProto) error {
	t.Helper()
	needed, provided := needs(t, consumer(t, consumes), mine), provides(t, theirs)
	first, second := contracts.NewBook(), contracts.NewBook()
	require.Empty(t, first.Need(needed))
	before := first.Provide("shop", provided)
	require.Empty(t, second.Provide("shop", provided))
	after := second.Need(needed)
	require.Equal(t, before, after)
	fits := first.Fits("blog", "shop", "/shop.v1.Plans/Get")
	require.Equal(t, fits, second.Fits("blog", "shop", "/shop.v1.Plans/Get"))
	if len(before) == 0 {
		require.NoError(t, fits)
		return nil
	}
	require.Len(t, before, 1)
	return before[0]
}

func TestKindsOfMethods(t *testing.T) {
	t.Parallel()
	with := func(client, server bool) *descriptorpb.FileDescriptorProto {
		f := file(t, "")
		f.Service[0].Method[0].ClientStreaming, f.Service[0].Method[0].ServerStreaming = proto.Bool(client), proto.Bool(server)
		return f
	}
	kinds := []*descriptorpb.FileDescriptorProto{with(false, false), with(false, true), with(true, false), with(true, true)}
	names := []string{"unary", "a stream of answers", "a stream of requests", "a stream both ways"}
	for i, mine := range kinds {
		for j, theirs := range kinds {
			err := meet(t, service, mine, theirs)
			if i == j {
				require.NoError(t, err)
				continue
			}
			require.ErrorContains(t, err, fmt.Sprintf("it is %s in blog, but %s in shop", names[i], names[j]))
		}
	}
}

func TestOnlyWhatIsConsumedIsCompared(t *testing.T) {
	t.Parallel()
	mine := file(t, "Price: 1 n int64")
	mine.Service[0].Method = append(mine.Service[0].Method, method("List", "Request", "Price"))
	theirs := file(t, "")
	require.ErrorContains(t, meet(t, service, mine, theirs), "shop.v1.Plans/List: shop has no such method")
	require.NoError(t, meet(t, service+"/Get", mine, theirs))

	book := contracts.NewBook()
	book.Provide("shop", provides(t, theirs))
	require.Len(t, book.Need(needs(t, consumer(t, service), mine)), 1)
	require.NoError(t, book.Fits("blog", "shop", "/shop.v1.Plans/Get"), "the other method may still be called")
	require.ErrorContains(t, book.Fits("blog", "shop", "/shop.v1.Plans/List"), "no such method")
	require.NoError(t, book.Fits("blog", "other", "/shop.v1.Plans/List"))
	require.Empty(t, book.Provide("other", provides(t, theirs)), "blog does not depend on it")
	require.Empty(t, book.Provide("shop", provides(t, mine)), "a new binary is compared again")
	require.NoError(t, book.Fits("blog", "shop", "/shop.v1.Plans/List"))
}

func TestWhatIsNotDescribedIsNotCompared(t *testing.T) {
	t.Parallel()
	m := consumer(t, service)
	for _, consumed := range [][]byte{nil, {}} {
		needed, err := contracts.Needs(m, consumed)
		require.NoError(t, err)
		book := contracts.NewBook()
		book.Provide("shop", provides(t, file(t, "")))
		require.Empty(t, book.Need(needed))
	}
}

// A module decides what it sends: it must not be able to keep the core busy, or to make it large.
func TestHostileDescriptors(t *testing.T) {
	t.Parallel()
	nested := &descriptorpb.DescriptorProto{Name: proto.String("M")}
	for range 17 {
		nested = &descriptorpb.DescriptorProto{Name: proto.String("M"), NestedType: []*descriptorpb.DescriptorProto{nested}}
	}
	deep := file(t, "")
	deep.MessageType = append(deep.MessageType, nested)
	many := file(t, "")
	for i := range 2001 {
		many.Service[0].Method = append(many.Service[0].Method, method(fmt.Sprint("M", i), "Request", "Answer"))
	}
	dangling := file(t, "Answer: 1 n Nothing")
	imports := file(t, "")
	imports.Dependency = []string{"none.proto"}
	twice := file(t, "Plan:\nPlan:")
	large := file(t, "")
	large.Options = &descriptorpb.FileOptions{GoPackage: proto.String(strings.Repeat("x", 5<<20))}
	for want, f := range map[string]*descriptorpb.FileDescriptorProto{
		"nested more than": deep, "more than 2000 methods": many, "make no sense": dangling, `"none.proto"`: imports,
		"already": twice, "larger than 4 MiB": large,
	} {
		set, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{f}})
		require.NoError(t, err)
		_, err = contracts.Needs(consumer(t, service), set)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "(fix: ")
	}
	_, err := contracts.Needs(consumer(t, service), []byte("\xff\xff\xff"))
	require.ErrorContains(t, err, "(fix: ")
}

// Messages with many fields, which all hold each other.
func TestComparingIsBounded(t *testing.T) {
	t.Parallel()
	const messages, fields = 210, 500
	var text strings.Builder
	text.WriteString("Request: 1 a M0\nAnswer: 1 a M0\n")
	for i := range messages {
		fmt.Fprintf(&text, "M%d: ", i)
		for j := range fields {
			fmt.Fprintf(&text, "%d f%d M%d;", j+1, j, (i+j)%messages)
		}
		text.WriteString("\n")
	}
	f := file(t, text.String())
	require.ErrorContains(t, meet(t, service, f, f), "too large to compare")
}

func FuzzNeeds(f *testing.F) {
	valid, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		file(f, "enum K: A B\nRequest: 1 k K\nAnswer: 1 p repeated Plan\nPlan: 1 name string; 2 next Plan"),
	}})
	require.NoError(f, err)
	f.Add(valid)
	f.Add([]byte(nil))
	m := consumer(f, service)
	book := contracts.NewBook()
	book.Provide("shop", provides(f, file(f, "Answer: 1 p repeated Plan\nPlan: 1 name string; 2 next Plan")))
	f.Fuzz(func(t *testing.T, consumed []byte) {
		needed, err := contracts.Needs(m, consumed)
		if err == nil {
			book.Need(needed)
		}
	})
}
