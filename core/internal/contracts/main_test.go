package contracts_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/platformd/platformd/core/internal/contracts"
	"github.com/platformd/platformd/plugin-api/manifest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const service = "shop.v1.Plans"

// file is shop/v1/plans.proto, of which a test states the messages and enums: "Plan: 1 name string; 2 prices repeated Price", and
// "enum Kind: FREE PAID". There are always Request and Answer, of the method Get.
func file(t testing.TB, text string) *descriptorpb.FileDescriptorProto {
	t.Helper()
	f := &descriptorpb.FileDescriptorProto{
		Name: proto.String("shop/v1/plans.proto"), Package: proto.String("shop.v1"), Syntax: proto.String("proto2"),
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name:   proto.String("Plans"),
			Method: []*descriptorpb.MethodDescriptorProto{method("Get", "Request", "Answer")},
		}},
	}
	kinds := map[string]bool{}
	for line := range strings.SplitSeq(text, "\n") {
		text, isEnum := strings.CutPrefix(strings.TrimSpace(line), "enum ")
		if name, values, _ := strings.Cut(text, ":"); isEnum {
			f.EnumType = append(f.EnumType, enum(name, strings.Fields(values)))
			kinds[name] = true
		}
	}
	declared := map[string]bool{}
	for line := range strings.SplitSeq(text, "\n") {
		name, fields, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok || strings.HasPrefix(name, "enum ") {
			continue
		}
		declared[name] = true
		f.MessageType = append(f.MessageType, message(t, name, fields, kinds))
	}
	for _, name := range []string{"Request", "Answer"} {
		if !declared[name] {
			f.MessageType = append(f.MessageType, &descriptorpb.DescriptorProto{Name: proto.String(name)})
		}
	}
	return f
}

func method(name, in, out string) *descriptorpb.MethodDescriptorProto {
	return &descriptorpb.MethodDescriptorProto{
		Name: proto.String(name), InputType: proto.String(".shop.v1." + in), OutputType: proto.String(".shop.v1." + out),
	}
}

func enum(name string, values []string) *descriptorpb.EnumDescriptorProto {
	e := &descriptorpb.EnumDescriptorProto{Name: proto.String(name)}
	for i, value := range values {
		e.Value = append(e.Value, &descriptorpb.EnumValueDescriptorProto{Name: proto.String(value), Number: proto.Int32(int32(i))})
	}
	return e
}

func message(t testing.TB, name, fields string, enums map[string]bool) *descriptorpb.DescriptorProto {
	t.Helper()
	m := &descriptorpb.DescriptorProto{Name: proto.String(name)}
	for text := range strings.SplitSeq(fields, ";") {
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		f := &descriptorpb.FieldDescriptorProto{
			Name: proto.String(words[1]), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Number: new(int32),
		}
		_, err := fmt.Sscan(words[0], f.Number)
		require.NoError(t, err)
		kind := words[len(words)-1]
		if len(words) > 3 {
			f.Label = descriptorpb.FieldDescriptorProto_Label(
				descriptorpb.FieldDescriptorProto_Label_value["LABEL_"+strings.ToUpper(words[2])]).Enum()
		}
		basic, isBasic := descriptorpb.FieldDescriptorProto_Type_value["TYPE_"+strings.ToUpper(kind)]
		switch {
		case isBasic:
			f.Type = descriptorpb.FieldDescriptorProto_Type(basic).Enum()
		case enums[kind]:
			f.Type, f.TypeName = descriptorpb.FieldDescriptorProto_TYPE_ENUM.Enum(), proto.String(".shop.v1."+kind)
		default:
			f.Type, f.TypeName = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), proto.String(".shop.v1."+kind)
		}
		m.Field = append(m.Field, f)
	}
	return m
}

// consumer is the manifest of a module that calls shop's service.
func consumer(t testing.TB, consumes string) *manifest.Manifest {
	t.Helper()
	m, err := manifest.Parse("module.yaml", []byte("apiVersion: platformd/v1\nname: blog\nversion: 1.0.0\n"+
		"requires: { modules: { shop: \"*\" } }\nservices: { consumes: ["+consumes+"] }\n"))
	require.NoError(t, err)
	return m
}

func needs(t testing.TB, m *manifest.Manifest, files ...*descriptorpb.FileDescriptorProto) *contracts.Needed {
	t.Helper()
	set, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: files})
	require.NoError(t, err)
	needed, err := contracts.Needs(m, set)
	require.NoError(t, err)
	return needed
}
