// The YAML reader keeps the place of everything, and refuses, within its bounds, what hides or
// repeats.

#include "app/config/yaml_document.h"

#include <gtest/gtest.h>

#include <string>

namespace meridian::config {
namespace {

using Kind = YamlNode::Kind;

YamlNode read(std::string_view text) {
  Problems problems;
  auto node = read_yaml(text, problems);
  EXPECT_TRUE(node && problems.empty()) << problems.to_text("x");
  return node.value_or(YamlNode());
}

std::string refusal(std::string_view text) {
  Problems problems;
  (void)read_yaml(text, problems);
  return problems.to_text("x");
}

TEST(YamlDocument, EverythingHasItsPlace) {
  const YamlNode root = read("# comment\na:\n  b: x\n  c: [1, 'two']\n");
  ASSERT_EQ(root.kind, Kind::map);
  ASSERT_EQ(root.members.size(), 1U);
  EXPECT_EQ(root.members[0].key, "a");
  EXPECT_EQ(root.members[0].place, Place(2, 1));
  const YamlNode& a = root.members[0].value;
  ASSERT_EQ(a.members.size(), 2U);
  EXPECT_EQ(a.members[0].place, Place(3, 3));
  EXPECT_EQ(a.members[0].value.place, Place(3, 6));
  EXPECT_EQ(a.members[0].value.text, "x");
  const YamlNode& c = a.members[1].value;
  ASSERT_EQ(c.kind, Kind::list);
  ASSERT_EQ(c.items.size(), 2U);
  EXPECT_EQ(c.items[1].text, "two");
  EXPECT_EQ(c.items[1].place, Place(4, 10));
}

TEST(YamlDocument, NothingHasThePlaceOfItsKey) {
  const YamlNode root = read("a:\nb: ~\nc: null\nd: \"\"\n");
  ASSERT_EQ(root.members.size(), 4U);
  EXPECT_EQ(root.members[0].value.kind, Kind::nothing);
  EXPECT_EQ(root.members[0].value.place, Place(1, 1));
  EXPECT_EQ(root.members[1].value.kind, Kind::nothing);
  EXPECT_EQ(root.members[2].value.kind, Kind::nothing);
  EXPECT_EQ(root.members[3].value.kind, Kind::scalar);
}

TEST(YamlDocument, AnEmptyTextIsNothing) {
  for (const std::string_view text : {"", "\n", "# only a comment", "---\n", "\n\n  \n"}) {
    EXPECT_EQ(read(text).kind, Kind::nothing) << text;
  }
}

TEST(YamlDocument, AQuoteWithoutEndIsRefusedHoweverTheTextEnds) {
  for (const std::string_view text :
       {"a: \"b", "a: \"b\n", "a: \"b\n\n\n", "a: 'b\n", "a: \"b # c\n", "a: \"b\nc: d\n"}) {
    EXPECT_TRUE(refusal(text).contains("a quote has no end")) << text << ": " << refusal(text);
  }
}

TEST(YamlDocument, DuplicateKeysAreAllFound) {
  EXPECT_EQ(refusal("a: 1\na: 2\nb: {c: 1, c: 2}\n'a': 3\n"),
            "x:2:1: a: this key is here for the second time; remove one, or merge the two\n"
            "x:3:11: b.c: this key is here for the second time; remove one, or merge the two\n"
            "x:4:1: a: this key is here for the second time; remove one, or merge the two");
}

TEST(YamlDocument, TheFileIsBounded) {
  const std::string fits(config_bytes_max, '#');
  EXPECT_EQ(refusal(fits), "");
  EXPECT_EQ(refusal(fits + "#"), "x: the file has 1048577 bytes; at most 1048576");
}

TEST(YamlDocument, ValuesAreBounded) {
  std::string list = "[";
  for (std::size_t i = 1; i < config_values_max; ++i) {
    list += "a,";
  }
  EXPECT_EQ(refusal(list + "]"), "");
  EXPECT_TRUE(refusal(list + "a]").contains("more than 50000 values"));
}

TEST(YamlDocument, DepthIsBounded) {
  const std::string open(config_depth_max, '[');
  const std::string close(config_depth_max, ']');
  EXPECT_EQ(refusal(open + close), "");
  EXPECT_TRUE(refusal("[" + open + close + "]").contains("more than 16 maps and lists"));
  EXPECT_FALSE(refusal(std::string(100'000, '[')).empty());
  EXPECT_FALSE(refusal(std::string(100'000, '{')).empty());
}

TEST(YamlDocument, BytesThatAreNoTextAreRefused) {
  EXPECT_EQ(refusal(std::string_view("a: b\0c", 6)),
            "x:1:5: the file has the control character \"\\x00\" here");
  EXPECT_EQ(refusal("a: 1\nb: \x80"), "x:2:4: the file is not UTF-8 here");
  EXPECT_EQ(refusal("a: \xc3"), "x:1:4: the file is not UTF-8 here");
  EXPECT_EQ(refusal("a: \xed\xa0\x80"), "x:1:4: the file is not UTF-8 here");
  EXPECT_EQ(refusal("\xff\xfe"
                    "a"),
            "x:1:1: the file is not UTF-8 here");
  EXPECT_EQ(refusal("a: \"\\_\""), "x:1:4: an escape in this text makes bytes that are no UTF-8");
  EXPECT_EQ(refusal("\"\\N\": b"), "x:1:1: an escape in this text makes bytes that are no UTF-8");
  EXPECT_EQ(read("a: \xc3\xa9").members.at(0).value.text, "\xc3\xa9");
}

TEST(YamlDocument, ATextCutAnywhereIsReadOrRefusedButNeverMore) {
  const std::string text =
      "a:\n  - {b: 'x', c: [1, \"2\"]}\n  - |\n    lines\n    of text\nd: &e {f: *e}\n--- \n...";
  for (std::size_t size = 0; size <= text.size(); ++size) {
    Problems problems;
    const auto node = read_yaml(std::string_view(text).substr(0, size), problems);
    EXPECT_NE(node.has_value(), !problems.empty()) << size;
  }
}

}  // namespace
}  // namespace meridian::config
