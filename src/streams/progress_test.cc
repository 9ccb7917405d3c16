// The floor never passes a message whose effect is not committed, whatever comes in which order.

#include "streams/progress.h"

#include "runtime/sim/sim_loop.h"
#include "streams/ledger.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

namespace meridian {
namespace {

using Arrival = Progress::Arrival;

TEST(Progress, RisesWithoutGaps) {
  Progress progress({.sequence = 10, .time = 100});
  EXPECT_EQ(progress.arrive({11, 110}), Arrival::fresh);
  EXPECT_EQ(progress.arrive({14, 140}), Arrival::fresh);
  EXPECT_EQ(progress.arrive({15, 150}), Arrival::fresh);
  progress.finish(14);
  EXPECT_EQ(progress.floor().sequence, 10U);
  EXPECT_EQ(progress.arrive({14, 140}), Arrival::done);
  EXPECT_EQ(progress.arrive({15, 150}), Arrival::under_way);
  progress.finish(11);
  EXPECT_EQ(progress.floor(), (StreamPlace{14, 140}));
  EXPECT_EQ(progress.arrive({11, 110}), Arrival::done);
  progress.finish(15);
  EXPECT_TRUE(progress.idle());
  EXPECT_EQ(progress.ahead(), 0U);
  progress.advance({20, 200});
  EXPECT_EQ(progress.floor().sequence, 20U);
}

TEST(Progress, WhatWasDoneBeforeIsNotDoneAgainAndHidesNothing) {
  Progress progress({.sequence = 10, .time = 100});
  progress.restore({15, 150});
  progress.restore({13, 130});
  EXPECT_EQ(progress.floor().sequence, 10U);
  EXPECT_EQ(progress.first_open(), 11U);
  EXPECT_EQ(progress.arrive({12, 120}), Arrival::fresh);
  progress.finish(12);
  EXPECT_EQ(progress.floor().sequence, 12U);  // Not 13: 14 may be between.
  EXPECT_EQ(progress.arrive({13, 130}), Arrival::done);
  EXPECT_EQ(progress.floor().sequence, 13U);
  EXPECT_EQ(progress.arrive({14, 140}), Arrival::fresh);
  // 15 has left the stream.
  EXPECT_EQ(progress.arrive({16, 160}), Arrival::fresh);
  progress.finish(16);
  progress.finish(14);
  EXPECT_EQ(progress.floor().sequence, 16U);
}

TEST(Progress, KnowsASequenceThatIsUsedAgain) {
  Progress progress({.sequence = 10, .time = 100});
  EXPECT_EQ(progress.arrive({9, 90}), Arrival::done);
  EXPECT_EQ(progress.arrive({9, 500}), Arrival::reused);
  progress.finish(9);
  EXPECT_EQ(progress.floor(), (StreamPlace{10, 500}));
  EXPECT_EQ(progress.arrive({9, 500}), Arrival::done);
  EXPECT_EQ(progress.arrive({11, 600}), Arrival::fresh);
  EXPECT_EQ(progress.arrive({11, 700}), Arrival::reused);
  EXPECT_EQ(progress.under_way(), 1U);
  progress.finish(11);
  EXPECT_TRUE(progress.idle());
}

// Restarts at random moments; what is done is known from a model.
TEST(Progress, LosesAndDoublesNothingOverRestarts) {
  for (unsigned seed = 1; seed <= 300; ++seed) {
    SimRandom random(seed);
    const auto chance = [&](unsigned one_in) { return random.next() % one_in == 0; };
    std::map<std::uint64_t, int> done;
    StreamPlace floor;
    constexpr std::uint64_t last = 200;
    for (int run = 0; run < 1'000 && done.size() < last; ++run) {
      Progress progress(floor);
      for (const auto& [sequence, count] : done)
        progress.restore({sequence, static_cast<std::int64_t>(sequence * 10)});
      std::set<std::uint64_t> under_way;
      std::uint64_t next = floor.sequence + 1;
      while (next <= last || !under_way.empty()) {
        if (chance(100)) break;  // The process dies.
        if (next <= last && under_way.size() < 20 && chance(2)) {
          const auto arrival = progress.arrive({next, static_cast<std::int64_t>(next * 10)});
          ASSERT_NE(arrival, Arrival::reused);
          ASSERT_EQ(arrival == Arrival::done, done.contains(next)) << "seed " << seed;
          if (arrival == Arrival::fresh) under_way.insert(next);
          ++next;
        } else if (!under_way.empty()) {
          auto one = under_way.begin();
          std::advance(one, random.next() % under_way.size());
          ++done[*one];
          progress.finish(*one);
          under_way.erase(one);
        }
        for (std::uint64_t i = 1; i <= progress.floor().sequence; ++i)
          ASSERT_TRUE(done.contains(i)) << "seed " << seed;
        if (chance(5)) floor = progress.floor();  // What the database has of it is older at times.
      }
    }
    ASSERT_EQ(done.size(), last) << "seed " << seed;
    for (const auto& [sequence, count] : done)
      ASSERT_EQ(count, 1) << "seed " << seed;
  }
}

TEST(Ledger, KeepsPlacesInFewBytes) {
  std::vector<StreamPlace> places;
  std::int64_t time = 1'763'700'000'123'456'789;
  for (std::uint64_t i = 0; i < 500; ++i) {
    places.push_back({.sequence = 1'000'000 + i * 2, .time = time});
    time += 8'000 + static_cast<std::int64_t>(i * 13 % 500);
  }
  places.push_back({.sequence = 3, .time = -5});
  places.push_back({.sequence = UINT64_MAX, .time = INT64_MAX});
  const std::string bytes = encode_places(places);
  EXPECT_LT(bytes.size(), 2'000U);
  const auto read = decode_places(bytes);
  ASSERT_TRUE(read);
  EXPECT_EQ(*read, places);
  EXPECT_FALSE(decode_places(std::string_view(bytes).substr(0, bytes.size() - 1)));
  EXPECT_FALSE(decode_places(std::string(12, '\xff')));
}

}  // namespace
}  // namespace meridian
