// The reader refuses all that two readers might understand differently, within its limits; what it
// accepts survives writing and reading again.

#include "wire/json/reader.h"
#include "wire/json/writer.h"

#include <gtest/gtest.h>

#include <string>

namespace meridian::json {
namespace {

TEST(JsonReader, KeepsMembersInTheirOrder) {
  const auto value = parse(R"({"b":1,"a":[true,null,"x\u00e9",-2.5],"c":{}})");
  ASSERT_TRUE(value) << value.error().detail();
  ASSERT_EQ(value->object()->size(), 3U);
  EXPECT_EQ(value->object()->at(0).name, "b");
  EXPECT_EQ(value->find("b")->integer(), 1);
  const Value::Array& items = *value->find("a")->array();
  EXPECT_EQ(items[0].boolean(), true);
  EXPECT_TRUE(items[1].is_null());
  EXPECT_EQ(items[2].string(), "x\u00e9");
  EXPECT_EQ(items[3].number(), -2.5);
  EXPECT_FALSE(items[3].integer());
  EXPECT_EQ(value->find("absent"), nullptr);
  EXPECT_EQ(items[0].find("a"), nullptr);
}

TEST(JsonReader, RefusesWhatIsNotOneStrictValue) {
  const std::string cases[] = {
      "",
      " ",
      "{",
      "}",
      "[1,]",
      "{\"a\":1,}",
      "{a:1}",
      "{'a':1}",
      "01",
      "+1",
      ".5",
      "1.",
      "0x10",
      "NaN",
      "-Infinity",
      "1e999",
      "-1e999",
      "nul",
      "true false",
      "{}x",
      "{}{}",
      "// c\n1",
      "/* c */1",
      "\"a",
      "\"\t\"",
      "\"\\x41\"",
      "\"\\ud800\"",
      "\"\\udc00\\ud800\"",
      "\xef\xbb\xbf{}",
      std::string("{}\0", 3),
      std::string("{}\0x", 4),
      std::string("\"a\0b\"", 5),
  };
  for (const std::string& text : cases) {
    const auto value = parse(text);
    ASSERT_FALSE(value) << text;
    EXPECT_EQ(value.error().code(), Errc::invalid) << text;
  }
}

TEST(JsonReader, RefusesBytesThatAreNoUtf8) {
  for (const char* const bytes :
       {"\x80", "\xc0\xaf", "\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff"}) {
    EXPECT_FALSE(parse("\"" + std::string(bytes) + "\"")) << bytes;
    EXPECT_FALSE(parse("{\"" + std::string(bytes) + "\":1}")) << bytes;
  }
}

TEST(JsonReader, RefusesTwoMembersOfOneNameAtAnyDepth) {
  const auto flat = parse(R"({"alg":"none","kid":"1","alg":"RS256"})");
  ASSERT_FALSE(flat);
  EXPECT_EQ(flat.error().detail(), "two members have the same name (in $.alg)");
  const auto nested = parse(R"([0,{"a":{"b":1,"b":1}}])");
  ASSERT_FALSE(nested);
  EXPECT_EQ(nested.error().detail(), "two members have the same name (in $[1].a.b)");
  // The same name written with an escape is the same name.
  EXPECT_FALSE(parse(R"({"a":1,"\u0061":2})"));
  EXPECT_TRUE(parse(R"({"a":1,"A":2,"b":{"a":1}})"));
}

TEST(JsonReader, KeepsItsLimits) {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_TRUE(parse(nested(32)));
  const auto deep = parse(nested(33));
  ASSERT_FALSE(deep);
  EXPECT_EQ(deep.error().code(), Errc::exhausted);
  EXPECT_FALSE(parse(std::string(100'000, '['), {.size_max = 1 << 20}));
  EXPECT_TRUE(parse("\"aa\"", {.size_max = 4}));
  EXPECT_EQ(parse("\"aaa\"", {.size_max = 4}).error().code(), Errc::exhausted);
}

TEST(JsonReader, TakesIntegersThatFitAndRoundsTheOthers) {
  EXPECT_EQ(parse("9223372036854775807")->integer(), INT64_MAX);
  EXPECT_EQ(parse("-9223372036854775808")->integer(), INT64_MIN);
  EXPECT_FALSE(parse("9223372036854775808")->integer());
  EXPECT_EQ(parse("9223372036854775808")->number(), 9223372036854775808.0);
  EXPECT_EQ(parse("1" + std::string(300, '0'))->number(), 1e300);
  EXPECT_FALSE(parse("1.0")->integer());
}

TEST(JsonReader, ErrorsDoNotRepeatTheText) {
  const auto value = parse(R"({"password":"hunter2" "x"})");
  ASSERT_FALSE(value);
  EXPECT_FALSE(value.error().detail().contains("hunter2"));
  EXPECT_TRUE(value.error().detail().contains("byte")) << value.error().detail();
}

TEST(JsonReader, NamesAMissingOrMistypedMember) {
  const auto value = parse(R"({"n":1})");
  EXPECT_EQ(value->string_at("iss").error().detail(), "the member \"iss\" is missing");
  EXPECT_EQ(value->string_at("n").error().detail(), "the member \"n\" is not a string");
}

TEST(JsonReader, EveryPrefixOfATextIsRefused) {
  const std::string text = R"({"a":[1,-2.5e3,"\u00e9\n"],"b":{"c":null,"d":false}})";
  ASSERT_TRUE(parse(text));
  for (std::size_t size = 0; size < text.size(); ++size)
    EXPECT_FALSE(parse(std::string_view(text).substr(0, size))) << size;
}

TEST(JsonWriter, WhatWasReadIsWrittenTheSame) {
  for (const std::string text : {R"({"b":1,"a":[true,null,"x",-2.5,[],{}],"c":{"d":{}}})",
                                 R"([3.0,1e+300,-9223372036854775808,"\u0001\"\\"])",
                                 R"("")"}) {
    const auto value = parse(text);
    ASSERT_TRUE(value) << text;
    EXPECT_EQ(to_text(*value), text);
    EXPECT_EQ(parse(to_text(*value)), *value);
  }
}

TEST(JsonWriter, WritesMembersWithTheirCommas) {
  Writer writer;
  writer.begin_object().member("a", "x\ny").name("b").begin_array().integer(1).boolean(true);
  writer.begin_object().end_object().null().end_array().name("c").number(0.5).end_object();
  EXPECT_EQ(writer.take(), R"({"a":"x\ny","b":[1,true,{},null],"c":0.5})");
}

}  // namespace
}  // namespace meridian::json
