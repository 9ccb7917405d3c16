// A visit ends in order: it is recorded, the peer is told goodbye, then the connection is closed.

#include "doors/door_host.h"

#include "gate/trail/trail_fixture_test.h"
#include "runtime/sim/sim_stream.h"

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <string>
#include <utility>

namespace meridian {
namespace {

// JavaScript's Number holds integers up to 2^53 - 1; beyond, neighbours become equal.
TEST(VisitsBeginAt, EveryIdIsAnIntegerForJavaScriptToo) {
  constexpr std::uint32_t loops_max = 64;
  constexpr std::uint64_t safe_max = (std::uint64_t{1} << 53) - 1;
  const WallTime last = std::chrono::sys_days(std::chrono::year{2059} / 12 / 31);
  EXPECT_LT(visits_begin_at(loops_max, last), safe_max);
}

TEST(VisitsBeginAt, LoopsAndLaterStartsHaveOthers) {
  const WallTime now = std::chrono::sys_days(std::chrono::year{2026} / 11 / 21);
  EXPECT_NE(visits_begin_at(0, now), visits_begin_at(1, now));
  EXPECT_EQ(visits_begin_at(1, now + std::chrono::seconds(1)) - visits_begin_at(1, now), 65'536U);
}

// What happened to a stream that finds room for its goodbye only at the try that `room_at` says.
struct Goodbyes {
  int room_at = 1;
  int tries = 0;
  bool said = false;
  bool closed = false;
};

class ReluctantStream final : public Stream {
 public:
  ReluctantStream(std::unique_ptr<Stream> lower, Goodbyes& goodbyes)
      : lower_(std::move(lower)), goodbyes_(goodbyes) {}

  Transfer try_read(std::span<char> into) override { return lower_->try_read(into); }
  Transfer try_write(std::string_view bytes) override { return lower_->try_write(bytes); }
  void shutdown_write() noexcept override {
    if (++goodbyes_.tries < goodbyes_.room_at) return;
    goodbyes_.said = true;
    lower_->shutdown_write();
  }
  bool goodbye_said() const noexcept override { return goodbyes_.said; }
  void close() noexcept override {
    goodbyes_.closed = true;
    lower_->close();
  }
  const Peer& peer() const noexcept override { return lower_->peer(); }
  std::string failure() const override { return lower_->failure(); }

 protected:
  // Ready at once while there is room later; for ever waiting where there never will be.
  bool watch(IoWait& wait, Interest interest) override {
    const bool never = goodbyes_.room_at == std::numeric_limits<int>::max();
    return never && watch_in(*lower_, wait, Interest::read) && interest == Interest::write;
  }

 private:
  std::unique_ptr<Stream> lower_;
  Goodbyes& goodbyes_;
};

class LeavingDoor final : public Door {
 public:
  DoorName name() const noexcept override { return DoorName::redis; }
  Async<> serve(Visit& visit) override {
    visit.note_end("ended");
    co_return;
  }
};

class DoorHostTest : public trail::TrailTest {
 protected:
  ~DoorHostTest() override { EXPECT_TRUE(trail_->close("the test is over")); }

  void pass(Duration duration) { (void)main_.run(main_.now().time_since_epoch() + duration); }

  // Serves one visit, which leaves at once.
  void serve(Duration duration) {
    auto [ours, theirs] = SimStream::make_pair(main_, {});
    client_ = std::move(theirs);
    host_.admit(door_, std::make_unique<ReluctantStream>(std::move(ours), goodbyes_), {{}, [] {}});
    pass(duration);
  }

  std::unique_ptr<trail::Trail> trail_ = open();
  LeavingDoor door_;
  DoorHost host_{main_, trail_->writer(0), metrics_, 0};
  Goodbyes goodbyes_;
  std::unique_ptr<SimStream> client_;
};

TEST_F(DoorHostTest, TheGoodbyeIsTriedUntilItHasLeft) {
  goodbyes_.room_at = 3;
  serve(goodbye_timeout / 2);
  EXPECT_EQ(goodbyes_.tries, 3);
  EXPECT_TRUE(goodbyes_.said);
  EXPECT_TRUE(goodbyes_.closed);
  EXPECT_EQ(host_.visits_count(), 0U);
}

TEST_F(DoorHostTest, WhoDoesNotReadHoldsUpNothingForLong) {
  goodbyes_.room_at = std::numeric_limits<int>::max();
  serve(goodbye_timeout / 2);
  EXPECT_FALSE(goodbyes_.closed);
  pass(goodbye_timeout);
  EXPECT_FALSE(goodbyes_.said);
  EXPECT_TRUE(goodbyes_.closed);
  EXPECT_EQ(host_.visits_count(), 0U);
}

}  // namespace
}  // namespace meridian
