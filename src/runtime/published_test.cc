// Readers on other threads see each replacement, whole, and never go back.

#include "runtime/published.h"

#include <gtest/gtest.h>

#include <thread>
#include <utility>
#include <vector>

namespace meridian {
namespace {

TEST(Published, AReaderSeesTheLatestValue) {
  Published<int> published(std::make_shared<const int>(1));
  Published<int>::Reader reader(published);
  EXPECT_EQ(*reader.get(), 1);
  const auto version = reader.version();
  published.publish(std::make_shared<const int>(2));
  EXPECT_EQ(*reader.get(), 2);
  EXPECT_NE(reader.version(), version);
  EXPECT_EQ(*published.get(), 2);
}

TEST(Published, ReadersOnOtherThreadsSeeWholeValuesInOrder) {
  constexpr int last = 20'000;
  using Pair = std::pair<int, int>;
  Published<Pair> published(std::make_shared<const Pair>(0, 0));
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&published] {
      Published<Pair>::Reader reader(published);
      for (int before = 0; before < last;) {
        const Pair now = *reader.get();
        ASSERT_EQ(now.first, now.second);
        ASSERT_GE(now.first, before);
        before = now.first;
      }
    });
  }
  for (int i = 1; i <= last; ++i)
    published.publish(std::make_shared<const Pair>(i, i));
  for (std::thread& thread : threads)
    thread.join();
}

}  // namespace
}  // namespace meridian
