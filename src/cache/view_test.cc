// A key belongs to one view and is read in one way; parts that could be written in two ways are not
// cached; an entry gives back what was put into it.

#include "cache/view.h"

#include "cache/entry.h"
#include "cache/view_set.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace meridian {
namespace {

std::shared_ptr<const View> make_view(const std::string& name,
                                      const std::string& pattern,
                                      std::size_t index) {
  auto view = std::make_shared<View>();
  view->name = name;
  view->pattern = *KeyPattern::parse(pattern);
  view->index = index;
  return view;
}

TEST(KeyPatternTest, TakesKeysApartAndPutsThemTogether) {
  const auto pattern = KeyPattern::parse("order:{id}:{line}");
  ASSERT_TRUE(pattern);
  EXPECT_EQ(pattern->to_string(), "order:{id}:{line}");
  EXPECT_EQ(pattern->prefix(), "order:");
  KeyPattern::Parts parts;
  ASSERT_TRUE(pattern->match("order:7:2", parts));
  EXPECT_EQ(parts[0], "7");
  EXPECT_EQ(parts[1], "2");
  EXPECT_EQ(pattern->make_key({parts.data(), 2}), "order:7:2");
  for (const std::string_view other :
       {"order:7", "order:7:", "order::2", "order:7:2:", "order:7:2:3", "orders:7:2", "", "order:"})
    EXPECT_FALSE(pattern->match(other, parts)) << other;
}

TEST(KeyPatternTest, TextBehindAPartEndsIt) {
  const auto pattern = KeyPattern::parse("a:{x}.json");
  KeyPattern::Parts parts;
  ASSERT_TRUE(pattern->match("a:1.json", parts));
  EXPECT_EQ(parts[0], "1");
  EXPECT_FALSE(pattern->match("a:1.2.json", parts));
  EXPECT_FALSE(pattern->match("a:.json", parts));
  EXPECT_FALSE(pattern->match("a:1.jso", parts));
}

TEST(KeyPatternTest, RefusesWhatCannotBeReadInOneWay) {
  for (const std::string_view text : {"",
                                      "order",
                                      "{id}",
                                      "{id}:x",
                                      "a:{x}{y}",
                                      "a:{x}:{x}",
                                      "a:{x",
                                      "a:x}",
                                      "a:{}",
                                      "a:{x y}",
                                      "a:{1}:{2}:{3}:{4}:{5}:{6}:{7}:{8}:{9}"}) {
    const auto pattern = KeyPattern::parse(text);
    ASSERT_FALSE(pattern) << text;
    EXPECT_EQ(pattern.error().code(), Errc::invalid);
  }
}

// Two texts of one value would be two keys, of which an invalidation would find one.
TEST(CanonicalPartTest, OnlyOneTextOfEachValueIs) {
  for (const std::string_view good : {"0", "1", "-1", "9223372036854775807"})
    EXPECT_TRUE(is_canonical(PartType::integer, good)) << good;
  for (const std::string_view bad :
       {"", "-", "-0", "00", "01", "+1", " 1", "1 ", "1.0", "1e3", "0x1", "99999999999999999999"})
    EXPECT_FALSE(is_canonical(PartType::integer, bad)) << bad;
  EXPECT_TRUE(is_canonical(PartType::uuid, "0189d1f2-1111-7abc-8def-0123456789ab"));
  for (const std::string_view bad : {"0189D1F2-1111-7abc-8def-0123456789ab",
                                     "0189d1f211117abc8def0123456789ab",
                                     "{189d1f2-1111-7abc-8def-0123456789a}",
                                     ""})
    EXPECT_FALSE(is_canonical(PartType::uuid, bad)) << bad;
  EXPECT_TRUE(is_canonical(PartType::text, "Grüße"));
  EXPECT_FALSE(is_canonical(PartType::text, "\xff"));
  EXPECT_FALSE(is_canonical(PartType::text, std::string_view("a\0b", 3)));
  EXPECT_FALSE(is_canonical(PartType::other, "1"));
}

TEST(ViewSetTest, TheLongestPrefixWins) {
  const ViewSet set({make_view("order", "order:{id}", 0),
                     make_view("line", "order:line:{id}", 1),
                     make_view("user", "user:{id}", 2)},
                    1,
                    5);
  EXPECT_EQ(set.generation(), 5U);
  ASSERT_TRUE(set.find("order:7"));
  EXPECT_EQ(set.find("order:7")->view->name, "order");
  EXPECT_EQ(set.find("order:line:7")->view->name, "line");
  EXPECT_EQ(set.find("user:x")->part_list()[0], "x");
  for (const std::string_view key : {"", "orde", "order:", "order:7:8", "secret:1", "user:"})
    EXPECT_FALSE(set.find(key)) << key;
}

TEST(ViewSetTest, TheSeedDecidesTheHash) {
  const auto view = make_view("order", "order:{id}", 0);
  EXPECT_NE(ViewSet({view}, 1, 0).find("order:7")->hash,
            ViewSet({view}, 2, 0).find("order:7")->hash);
  EXPECT_EQ(ViewSet({view}, 1, 0).find("order:7")->hash,
            ViewSet({view}, 1, 9).find("order:7")->hash);
}

TEST(DependencySlotsTest, SizesKeepPartsApartAndDoubtfulPartsHaveNone) {
  auto view = std::make_shared<View>();
  view->name = "v";
  view->pattern = *KeyPattern::parse("v:{a}:{b}");
  view->dependencies.push_back(
      {.schema = "public",
       .table = "t",
       .equalities = {{.column = "a", .part = 0, .type = PartType::text},
                      {.column = "b", .part = 1, .type = PartType::integer}},
       .reason = {}});
  const Slots slots(1 << 16);
  const auto slots_of = [&](std::vector<std::string_view> parts) {
    return dependency_slots(slots, *view, parts);
  };
  const auto first = slots_of({"x1", "2"});
  ASSERT_TRUE(first);
  ASSERT_EQ(first->count, 3U);
  EXPECT_EQ(first->slots[0], Slots::everything);
  EXPECT_EQ(first->slots[1], slots.of_view(0));
  EXPECT_NE(first->slots[2], slots_of({"x", "12"})->slots[2]);
  const std::vector<std::string_view> row{"x1", "2"};
  EXPECT_EQ(first->slots[2], dependency_slot(slots, *view, 0, row));
  EXPECT_FALSE(slots_of({"x", "02"}));
}

TEST(EntryTest, GivesBackWhatWasPutIn) {
  ViewKey key;
  key.text = "order:7";
  key.hash = 99;
  const ViewValue value{.present = true,
                        .json = R"({"id":7})",
                        .fields = {{"id", "7"}, {"", ""}, {"note", std::string("a\0b", 3)}}};
  const auto entry = Entry::make(key, value, {.count = 1, .slots = {3}, .versions = {4}});
  EXPECT_EQ(entry->key(), "order:7");
  EXPECT_EQ(entry->hash(), 99U);
  EXPECT_TRUE(entry->present());
  EXPECT_EQ(entry->json(), R"({"id":7})");
  EXPECT_EQ(entry->stamp().versions[0], 4U);
  std::vector<std::pair<std::string, std::string>> fields;
  entry->for_each_field([&](std::string_view name, std::string_view text) {
    fields.emplace_back(name, text);
    return true;
  });
  EXPECT_EQ(fields, value.fields);
  int seen = 0;
  entry->for_each_field([&](std::string_view, std::string_view) { return ++seen < 2; });
  EXPECT_EQ(seen, 2);
  for (int i = 0; i < 9; ++i)
    entry->use();
  EXPECT_EQ(entry->uses(), 3);
  for (int i = 0; i < 9; ++i)
    entry->decay();
  EXPECT_EQ(entry->uses(), 0);
}

TEST(EntryTest, NothingIsWorthRememberingToo) {
  ViewKey key;
  key.text = "order:8";
  const auto entry = Entry::make(key, {}, {});
  EXPECT_FALSE(entry->present());
  EXPECT_TRUE(entry->json().empty());
  EXPECT_EQ(entry->fields_count(), 0U);
}

}  // namespace
}  // namespace meridian
