// The store finds what was put in, never holds more bytes than it may, keeps what is hit over what
// is not, and frees nothing that a loop may still read.

#include "cache/store.h"

#include "base/hash.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

namespace meridian {
namespace {

constexpr std::size_t bytes_max = 64 * 64 * 1'024;  // 64 KiB for each of the 64 shards.

class StoreTest : public ::testing::Test {
 protected:
  static std::uint64_t hash_of(std::string_view key) { return hash_bytes(key, 7); }

  void insert(const std::string& key, std::size_t value_size, std::string_view begin = {}) {
    ViewKey view_key;
    view_key.text = key;
    view_key.hash = hash_of(key);
    ViewValue value{.present = true, .json = std::string(begin), .fields = {}};
    value.json.resize(std::max(value_size, begin.size()), '.');
    store_.insert(Entry::make(view_key, value, {}));
  }
  const Entry* find(const std::string& key) const { return store_.find(key, hash_of(key)); }
  bool remove(const std::string& key) { return store_.remove(key, hash_of(key)); }

  Reclaimer reclaimer_;
  Store store_{reclaimer_, bytes_max};
};

TEST_F(StoreTest, FindsWhatWasPutInAndTheLastOfEachKey) {
  EXPECT_EQ(find("order:1"), nullptr);
  insert("order:1", 3, "one");
  insert("order:2", 3, "two");
  ASSERT_NE(find("order:1"), nullptr);
  EXPECT_EQ(find("order:1")->json(), "one");
  insert("order:1", 3, "uno");
  EXPECT_EQ(find("order:1")->json(), "uno");
  EXPECT_EQ(store_.count(), 2U);
  EXPECT_TRUE(remove("order:1"));
  EXPECT_FALSE(remove("order:1"));
  EXPECT_EQ(find("order:1"), nullptr);
  EXPECT_EQ(find("order:2")->json(), "two");
  store_.clear();
  EXPECT_EQ(store_.count(), 0U);
  EXPECT_EQ(store_.bytes(), 0U);
}

TEST_F(StoreTest, KeysOfOneHashAreApart) {
  for (const std::string key : {"a", "b"}) {
    ViewKey view_key;
    view_key.text = key;
    view_key.hash = 42;
    store_.insert(Entry::make(view_key, {.present = true, .json = key, .fields = {}}, {}));
  }
  EXPECT_EQ(store_.find("a", 42)->json(), "a");
  EXPECT_EQ(store_.find("b", 42)->json(), "b");
  EXPECT_TRUE(store_.remove("a", 42));
  EXPECT_EQ(store_.find("a", 42), nullptr);
  EXPECT_EQ(store_.find("b", 42)->json(), "b");
}

TEST_F(StoreTest, WhatIsLargerThanAShardTakesIsNotKept) {
  insert("huge", bytes_max);
  EXPECT_EQ(find("huge"), nullptr);
  EXPECT_EQ(store_.count(), 0U);
  EXPECT_EQ(store_.bytes(), 0U);
}

// Against a map of what the values should be, over many keys and sizes.
TEST_F(StoreTest, NeverHoldsMoreThanItMayNorAnythingWrong) {
  std::mt19937_64 random(1);
  std::map<std::string, std::string> expected;
  for (int i = 0; i < 60'000; ++i) {
    const std::string key = "k" + std::to_string(random() % 4'000);
    switch (random() % 4) {
      case 0: {
        const std::string value = std::to_string(i) + ";";
        insert(key, 100 + random() % 4'000, value);
        expected[key] = value;
        break;
      }
      case 1:
        remove(key);
        expected.erase(key);
        break;
      default:
        if (const Entry* const entry = find(key)) {
          ASSERT_TRUE(expected.contains(key)) << key << " was removed";
          ASSERT_TRUE(entry->json().starts_with(expected[key])) << key;
          entry->use();
        }
    }
    ASSERT_LE(store_.bytes(), bytes_max);
  }
  EXPECT_GT(store_.evictions(), 0U);
  std::size_t bytes = 0;
  std::size_t count = 0;
  store_.for_each([&](const Entry& entry) {
    bytes += entry.size();
    ++count;
  });
  EXPECT_EQ(bytes, store_.bytes());
  EXPECT_EQ(count, store_.count());
}

// A scan of keys that nobody asks for again does not push out those that are hit.
TEST_F(StoreTest, WhatIsHitOutlivesAScan) {
  for (int i = 0; i < 500; ++i)
    insert("hot" + std::to_string(i), 500);
  const auto hit_all = [&] {
    int kept = 0;
    for (int i = 0; i < 500; ++i) {
      if (const Entry* const entry = find("hot" + std::to_string(i))) {
        entry->use();
        ++kept;
      }
    }
    return kept;
  };
  ASSERT_EQ(hit_all(), 500);
  for (int i = 0; i < 40'000; ++i) {
    insert("cold" + std::to_string(i), 500);
    if (i % 2'000 == 0) hit_all();
  }
  EXPECT_GT(store_.evictions(), 30'000U);
  EXPECT_EQ(hit_all(), 500);
}

// A loop that has not been between two batches since may hold a pointer.
TEST(StoreAndLoops, NothingIsFreedThatALoopMayStillRead) {
  Reclaimer reclaimer;
  EpollLoop loop;
  reclaimer.observe_loop(loop);
  Store store(reclaimer, bytes_max);
  ViewKey key;
  key.text = "k";
  key.hash = 1;
  store.insert(Entry::make(key, {.present = true, .json = "before", .fields = {}}, {}));
  const Entry* const borrowed = store.find("k", 1);
  for (int i = 0; i < 1'000; ++i)
    store.insert(Entry::make(key, {.present = true, .json = "after", .fields = {}}, {}));
  EXPECT_EQ(borrowed->json(), "before");  // Under AddressSanitizer the proof.
}

}  // namespace
}  // namespace meridian
