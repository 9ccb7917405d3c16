// Fields of messages by their descriptor, as a database reads them.

#include "wire/protobuf/fields.h"

#include "wire/protobuf/sample_schema.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/dynamic_message.h>
#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace meridian::protobuf {
namespace {

using json::FieldKind;

class Fields : public testing::Test {
 protected:
  // A message in wire format, written as the library's text format says.
  static std::string encode(const std::string& text, const std::string& type = "shop.Order") {
    google::protobuf::FileDescriptorSet set;
    EXPECT_TRUE(set.ParseFromString(sample_descriptor_set()));
    google::protobuf::DescriptorPool pool;
    for (const auto& file : set.file())
      EXPECT_TRUE(pool.BuildFile(file));
    google::protobuf::DynamicMessageFactory factory(&pool);
    const std::unique_ptr<google::protobuf::Message> message(
        factory.GetPrototype(pool.FindMessageTypeByName(type))->New());
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, message.get())) << text;
    return message->SerializePartialAsString();
  }

  static std::shared_ptr<const Schema> schema(const std::string& type = "shop.Order") {
    auto made = Schema::make(sample_descriptor_set(), type);
    EXPECT_TRUE(made) << made.error().detail();
    return *made;
  }

  // "kind text" of one path.
  static std::string read(const std::string& bytes,
                          const std::string& path,
                          const std::string& type = "shop.Order") {
    auto reader = FieldReader::make(schema(type), {path});
    if (!reader) return "refused: " + reader.error().detail();
    const auto fields = reader->read(bytes);
    if (!fields) return "unreadable: " + fields.error().detail();
    const json::Field& field = (**fields)[0];
    std::string said = std::string(to_string(field.kind));
    if (field.kind != FieldKind::missing) said += " " + std::string(field.text);
    if (!field.alternative.empty()) said += " / " + std::string(field.alternative);
    return said;
  }

  static std::string read_text(const std::string& text, const std::string& path) {
    return read(encode(text), path);
  }
};

TEST_F(Fields, NumbersKeepTheirDigits) {
  const std::string text =
      "id: 18446744073709551615 total: -9223372036854775808 weight: 0.1 rate: 0.1 mark: 7 gift: 1";
  EXPECT_EQ(read_text(text, "id"), "number 18446744073709551615");
  EXPECT_EQ(read_text(text, "total"), "number -9223372036854775808");
  EXPECT_EQ(read_text(text, "weight"), "number 0.1");
  EXPECT_EQ(read_text(text, "rate"), "number 0.1");
  EXPECT_EQ(read_text(text, "mark"), "number 7");
  EXPECT_EQ(read_text(text, "gift"), "boolean true");
  EXPECT_EQ(read_text("weight: -inf rate: nan", "weight"), "number -Infinity");
  EXPECT_EQ(read_text("weight: -inf rate: nan", "rate"), "number NaN");
}

TEST_F(Fields, WhatIsNotSet) {
  // Without presence: the default. With it: missing.
  EXPECT_EQ(read("", "id"), "number 0");
  EXPECT_EQ(read("", "customer"), "string ");
  EXPECT_EQ(read("", "status"), "enumeration NEW / 0");
  EXPECT_EQ(read("", "note"), "missing");
  EXPECT_EQ(read("", "first"), "missing");
  EXPECT_EQ(read("", "first.sku"), "missing");
  EXPECT_EQ(read("", "at"), "missing");
  EXPECT_EQ(read("", "lines"), "array []");
  EXPECT_EQ(read("", "lines[0].sku"), "missing");
  EXPECT_EQ(read("", "names"), "object {}");
  EXPECT_EQ(read("", "names.7"), "missing");
  EXPECT_EQ(read_text("note: \"\"", "note"), "string ");
  EXPECT_EQ(read_text("first {}", "first.sku"), "string ");
  EXPECT_EQ(read(encode("id: 1", "shop.Old"), "kind", "shop.Old"), "missing");
}

TEST_F(Fields, TextsBytesAndEnums) {
  EXPECT_EQ(read_text("customer: \"B\\303\\244r\"", "customer"), "string B\u00e4r");
  EXPECT_EQ(read_text("proof: \"\\000\\377\"", "proof"),
            "bytes " + std::string("\0\xff", 2) + " / \\x00ff");
  EXPECT_EQ(read_text("status: PAID", "status"), "enumeration PAID / 3");
  EXPECT_EQ(read_text("status: 77", "status"), "enumeration 77 / 77");
  EXPECT_EQ(read_text("status: PAID", "status.number"), "number 3");
  EXPECT_EQ(read_text("history: 0 history: 3", "history[1].number"), "number 3");
}

TEST_F(Fields, NestedListsAndMaps) {
  const std::string text =
      "lines { sku: \"a\" count: 1 } lines { sku: \"b\" } tags: \"x\\\"y\" tags: \"\" numbers: "
      "9007199254740993 by_sku { key: \"a\" value { count: 5 } } names { key: -7 value: \"seven\" "
      "} "
      "history: PAID history: 9 proofs: \"\\001\" first { order { lines { sku: \"deep\" } } }";
  EXPECT_EQ(read_text(text, "lines[1].sku"), "string b");
  EXPECT_EQ(read_text(text, "lines[2].sku"), "missing");
  EXPECT_EQ(read_text(text, "lines[0]"), "object {\"sku\":\"a\",\"count\":1,\"states\":[]}");
  EXPECT_EQ(read_text(text, "lines"),
            "array [{\"sku\":\"a\",\"count\":1,\"states\":[]},"
            "{\"sku\":\"b\",\"count\":0,\"states\":[]}]");
  EXPECT_EQ(read_text(text, "tags"), "array [\"x\\\"y\",\"\"]");
  EXPECT_EQ(read_text(text, "tags[0]"), "string x\"y");
  EXPECT_EQ(read_text(text, "numbers"), "array [9007199254740993]");
  EXPECT_EQ(read_text(text, "history"), "array [\"PAID\",9] / [3,9]");
  EXPECT_EQ(read_text(text, "proofs"), "array [\"\\\\x01\"]");
  EXPECT_EQ(read_text(text, "by_sku.a.count"), "number 5");
  EXPECT_EQ(read_text(text, "by_sku.b.count"), "missing");
  EXPECT_EQ(read_text(text, "by_sku"), "object {\"a\":{\"sku\":\"\",\"count\":5,\"states\":[]}}");
  EXPECT_EQ(read_text(text, "names.-7"), "string seven");
  EXPECT_EQ(read_text(text, "names"), "object {\"-7\":\"seven\"}");
  EXPECT_EQ(read_text(text, "first.order.lines[0].sku"), "string deep");
}

TEST_F(Fields, ListsAndMapsOfEnums) {
  const std::string text =
      "history: PAID history: NEW history: 9 lines { states: PAID states: NEW } first { order { "
      "history: -1 } } by_sku { key: \"a\" value { states: 3 } } by_state { key: \"number\" value: "
      "PAID } by_state { key: \"b\" value: 7 }";
  // Names, and the numbers for who wants those.
  EXPECT_EQ(read_text(text, "history"), "array [\"PAID\",\"NEW\",9] / [3,0,9]");
  EXPECT_EQ(read_text(text, "history.number"), "array [3,0,9]");
  EXPECT_EQ(read_text(text, "history[0]"), "enumeration PAID / 3");
  EXPECT_EQ(read_text("", "history"), "array [] / []");
  EXPECT_EQ(read_text("", "history.number"), "array []");
  EXPECT_EQ(read_text(text, "lines[0].states"), "array [\"PAID\",\"NEW\"] / [3,0]");
  EXPECT_EQ(read_text(text, "lines[0].states.number"), "array [3,0]");
  EXPECT_EQ(read_text(text, "lines[0].states[1].number"), "number 0");
  EXPECT_EQ(read_text(text, "lines[1].states.number"), "missing");
  EXPECT_EQ(read_text(text, "first.order.history.number"), "array [-1]");
  EXPECT_EQ(read_text(text, "by_sku.a.states"), "array [\"PAID\"] / [3]");
  EXPECT_EQ(read_text(text, "by_sku.a.states.number"), "array [3]");
  // Of a map, what stands behind the dot is a key, also "number".
  EXPECT_EQ(read_text(text, "by_state.number"), "enumeration PAID / 3");
  EXPECT_EQ(read_text(text, "by_state.number.number"), "number 3");
  EXPECT_EQ(read_text(text, "by_state.b"), "enumeration 7 / 7");
  EXPECT_EQ(read_text(text, "by_state.c.number"), "missing");
  EXPECT_EQ(read_text(text, "by_state"), "object {\"number\":\"PAID\",\"b\":7}");
  // One after another from one reader: nothing of the first is left.
  auto reader = FieldReader::make(schema(), {"history", "history.number", "status"});
  ASSERT_TRUE(reader);
  for (const auto& [message, names, numbers] :
       {std::tuple{"history: PAID history: PAID", R"(["PAID","PAID"])", "[3,3]"},
        std::tuple{"", "[]", "[]"},
        std::tuple{"history: NEW", R"(["NEW"])", "[0]"}}) {
    const std::string bytes = encode(message);
    const auto fields = reader->read(bytes);
    ASSERT_TRUE(fields);
    EXPECT_EQ((**fields)[0].raw, names);
    EXPECT_EQ((**fields)[0].alternative, numbers);
    EXPECT_EQ((**fields)[1].raw, numbers);
    EXPECT_EQ((**fields)[1].alternative, "");
  }
}

TEST_F(Fields, OneofAndTheLastWord) {
  EXPECT_EQ(read_text("cash: 5", "card"), "missing");
  EXPECT_EQ(read_text("cash: 5", "cash"), "number 5");
  // What stands behind counts, and messages are merged.
  EXPECT_EQ(read(encode("cash: 5") + encode("card: \"c\""), "cash"), "missing");
  EXPECT_EQ(read(encode("id: 5") + encode("id: 6"), "id"), "number 6");
  EXPECT_EQ(read(encode("first { sku: \"a\" }") + encode("first { count: 2 }"), "first"),
            "object {\"sku\":\"a\",\"count\":2,\"states\":[]}");
}

TEST_F(Fields, Timestamps) {
  EXPECT_EQ(read_text("at { seconds: 1767225600 }", "at"), "string 2026-01-01T00:00:00Z");
  EXPECT_EQ(read_text("at { seconds: -1 nanos: 1000 }", "at"),
            "string 1969-12-31T23:59:59.000001000Z");
  EXPECT_EQ(read_text("at { seconds: 7 }", "at.seconds"), "number 7");
  EXPECT_EQ(read_text("at { nanos: -1 }", "at"),
            "unreadable: shop.Order: a timestamp in it is out of range");
  EXPECT_EQ(read_text("at { seconds: 253402300800 }", "at"),
            "unreadable: shop.Order: a timestamp in it is out of range");
}

TEST_F(Fields, UnknownFieldsArePassedOver) {
  // Field 999, a varint; 998, of a length; behind them what is known.
  const std::string unknown("\xb8\x3e\x05\xb2\x3e\x02hi\x08\x07", 10);
  EXPECT_EQ(read(unknown, "id"), "number 7");
}

TEST_F(Fields, Unreadable) {
  const std::string wrong =
      "unreadable: it is no message of shop.Order, or one of more than 32 levels";
  EXPECT_EQ(read("\x08", "id"), wrong);          // No value.
  EXPECT_EQ(read("\x1a\x05hi", "id"), wrong);    // Shorter than it says.
  EXPECT_EQ(read("\x0f", "id"), wrong);          // There is no such wire type.
  EXPECT_EQ(read("{\"id\":7}", "id"), wrong);    // JSON.
  EXPECT_EQ(read("\x1a\x01\xff", "id"), wrong);  // A text that is no UTF-8.
  EXPECT_EQ(read(std::string(11, '\xff'), "id"), wrong);
  EXPECT_EQ(read("\x0c", "id"), wrong);  // The end of a group that did not begin.
  std::string deep;
  for (int i = 0; i < 40; ++i) {
    // Line.order and Order.first by turns.
    const char tag = i % 2 == 0 ? '\x1a' : '\x92';
    std::string outer(1, tag);
    if (tag == '\x92') outer += '\x01';
    ASSERT_LT(deep.size(), 128U);
    outer += static_cast<char>(deep.size());
    deep = outer + deep;
  }
  EXPECT_EQ(read(deep, "id"), wrong);
  EXPECT_EQ(read("", "id", "shop.Old"), "unreadable: a required field of shop.Old is not set");
  EXPECT_EQ(read(std::string(FieldReader::size_max + 1, '\0'), "id"),
            "unreadable: a message of 16777217 bytes; at most 16777216");
  EXPECT_EQ(read(encode("id: 1 Part { size: 3 }", "shop.Old"), "part.size", "shop.Old"),
            "number 3");
}

TEST_F(Fields, PathsThatLeadToNothing) {
  const auto refused = [](const std::string& path) { return read("", path); };
  EXPECT_EQ(refused("sum"), "refused: \"sum\" leads to nothing: shop.Order has no field \"sum\"");
  EXPECT_EQ(refused("id.x"),
            "refused: \"id.x\" leads to nothing: what stands before \"x\" is no message");
  EXPECT_EQ(refused("lines.sku"),
            "refused: \"lines.sku\" leads to nothing: lines is a list; say which element, as in "
            "lines[0]");
  for (const auto* const path : {"",
                                 "id[0]",
                                 "lines[0][1]",
                                 "lines[x]",
                                 "lines[",
                                 "lines[-1]",
                                 "first..sku",
                                 ".id",
                                 "names[0]",
                                 "first.",
                                 "status.name",
                                 "status.number.number",
                                 "history.name",
                                 "history.number.number",
                                 "history.number[0]",
                                 "lines.number",
                                 "numbers.number",
                                 "by_state.a.number.number",
                                 "id.number",
                                 "lines[99999]",
                                 "names.1.x",
                                 "lines[0]sku"})
    EXPECT_TRUE(refused(path).starts_with("refused: ")) << path << refused(path);
}

TEST_F(Fields, BadDescriptors) {
  const auto why = [](const std::string& set, const std::string& message) {
    const auto made = Schema::make(set, message);
    return made ? "" : made.error().detail();
  };
  EXPECT_TRUE(why("", "shop.Order").starts_with("it is no FileDescriptorSet"));
  EXPECT_TRUE(why("syntax = \"proto3\";", "shop.Order").starts_with("it is no FileDescriptorSet"));
  EXPECT_EQ(why(sample_descriptor_set(), "Order"), "the descriptor set has no message \"Order\"");
  EXPECT_EQ(why(sample_descriptor_set(), "shop.Status"),
            "the descriptor set has no message \"shop.Status\"");
  // Without what it imports.
  google::protobuf::FileDescriptorSet set;
  ASSERT_TRUE(set.ParseFromString(sample_descriptor_set()));
  set.mutable_file()->DeleteSubrange(0, 1);
  EXPECT_TRUE(why(set.SerializeAsString(), "shop.Order").contains("--include_imports"));
  EXPECT_FALSE(Schema::make(std::string(Schema::size_max + 1, '\0'), "a"));
}

TEST_F(Fields, AReaderIsUsedAgain) {
  auto reader = FieldReader::make(schema(), {"note", "tags"});
  ASSERT_TRUE(reader);
  const std::string large = encode("note: \"" + std::string(3'000'000, 'x') + "\" tags: \"a\"");
  for (int i = 0; i < 3; ++i) {
    const auto fields = reader->read(large);
    ASSERT_TRUE(fields);
    EXPECT_EQ((**fields)[0].text.size(), 3'000'000U);
    ASSERT_FALSE(reader->read("\x0f"));
    const auto empty = reader->read("");
    ASSERT_TRUE(empty);
    EXPECT_EQ((**empty)[0].kind, FieldKind::missing);
    EXPECT_EQ((**empty)[1].text, "[]");
  }
}

}  // namespace
}  // namespace meridian::protobuf
