// Fields are found where the path leads, as they are written, and only in texts that are JSON as
// parse() understands it.

#include "wire/json/fields.h"

#include "wire/json/reader.h"

#include <gtest/gtest.h>

#include <array>

namespace meridian::json {
namespace {

Field field_of(std::string_view text, std::string path) {
  static std::vector<FieldReader> readers;  // Fields point into them.
  readers.reserve(100);
  auto reader = FieldReader::make({std::move(path)});
  EXPECT_TRUE(reader);
  readers.push_back(*std::move(reader));
  const auto fields = readers.back().read(text);
  EXPECT_TRUE(fields) << fields.error().detail();
  return fields ? (**fields)[0] : Field();
}

TEST(JsonFields, AreFoundAlongTheirPath) {
  constexpr std::string_view text =
      R"( {"id": 12345678901234567890.10, "a": {"b": [10, {"c": "x\n\u00e9\ud83d\ude00"}, null]},)"
      R"( "b": true, "A": 1e5, "empty": "", "list": [] } )";
  EXPECT_EQ(field_of(text, "id").raw, "12345678901234567890.10");
  EXPECT_EQ(field_of(text, "id").kind, FieldKind::number);
  EXPECT_EQ(field_of(text, "a.b[0]").raw, "10");
  EXPECT_EQ(field_of(text, "a.b[1].c").text, "x\n\u00e9\U0001F600");
  EXPECT_EQ(field_of(text, "a.b[2]").kind, FieldKind::null);
  EXPECT_EQ(field_of(text, "a.b[3]").kind, FieldKind::missing);
  EXPECT_EQ(field_of(text, "a").kind, FieldKind::object);
  EXPECT_EQ(field_of(text, "b").raw, "true");
  EXPECT_EQ(field_of(text, "empty").kind, FieldKind::string);
  EXPECT_EQ(field_of(text, "list").raw, "[]");
  EXPECT_EQ(field_of(text, "c").kind, FieldKind::missing);
  EXPECT_EQ(field_of(text, "b.c").kind, FieldKind::missing);
  EXPECT_EQ(field_of("[1, [2, 3]]", "[1][0]").raw, "2");
}

TEST(JsonFields, OfOneReaderAreReadAgainAndAgain) {
  auto reader = FieldReader::make({"a", "b", "a"});
  ASSERT_TRUE(reader);
  for (int i = 0; i < 3; ++i) {
    const auto both = reader->read(R"({"a": "1\t", "b": 2})");
    ASSERT_TRUE(both);
    EXPECT_EQ((**both)[0].text, "1\t");
    EXPECT_EQ((**both)[1].text, "2");
    EXPECT_EQ((**both)[2].text, "1\t");
    const auto none = reader->read("{}");
    ASSERT_TRUE(none);
    EXPECT_EQ((**none)[0].kind, FieldKind::missing);
  }
}

TEST(JsonFields, AcceptWhatTheStrictReaderAccepts) {
  constexpr std::array texts{R"({"a":1})",
                             R"({"a":1)",
                             R"({"a":01})",
                             R"({"a":1.})",
                             R"({"a":-})",
                             R"({"a":1e})",
                             R"({"a":"\x"})",
                             R"({"a":"\u12"})",
                             R"({"a":"\u12g4"})",
                             R"({"a":"\ud800"})",
                             R"({"a":"\udc00"})",
                             R"({"a":"\ud800\u0041"})",
                             "{\"a\":\"\n\"}",
                             "{\"a\":\"\xff\"}",
                             R"({"a":tru})",
                             R"({"a":nul})",
                             R"({"a" 1})",
                             R"({"a":1,})",
                             R"([1,])",
                             R"([1 2])",
                             "",
                             " ",
                             "1 2",
                             R"("x")",
                             R"({"a":1,"a":2})",
                             R"({"a":[1,{"b":[]}]})",
                             R"({'a':1})",
                             "{a:1}",
                             R"({"a":+1})",
                             R"({"a":.5})",
                             R"({"a":-0.5e+10})",
                             R"({"a":"\u0041\/"})",
                             "\xef\xbb\xbf{}",
                             R"({"a":"\u-123"})"};
  auto reader = FieldReader::make({"a"});
  ASSERT_TRUE(reader);
  for (const std::string_view text : texts) {
    EXPECT_EQ(reader->read(text).has_value(), parse(text).has_value()) << text;
  }
  std::string deep(40, '[');
  deep += std::string(40, ']');
  EXPECT_FALSE(reader->read(deep));
  EXPECT_TRUE(reader->read(R"({"b":1,"b":2,"a":1})"));  // Nobody asks for it.
}

TEST(JsonFields, RefusePathsThatLeadNowhere) {
  for (const char* const path : {"", ".", "a.", "a..b", "a[", "a[x]", "a[-1]", "a[10000]", "a[1]b"})
    EXPECT_FALSE(FieldReader::make({path})) << path;
}

TEST(JsonFields, BecomeArraysOfTheDatabase) {
  EXPECT_EQ(to_sql_array("[]").value_or("?"), "{}");
  EXPECT_EQ(to_sql_array(R"([1, 2.5 ,null,"a \"b\" \\ c",true])").value_or("?"),
            R"({1,2.5,NULL,"a \"b\" \\ c",true})");
  EXPECT_FALSE(to_sql_array("[[1]]"));
  EXPECT_FALSE(to_sql_array(R"([{"a":1}])"));
}

}  // namespace
}  // namespace meridian::json
