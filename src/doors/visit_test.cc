// A visit has a stream all the time, tells each thing once, and ends for its first reason, taking
// its fibres along.

#include "doors/visit.h"

#include "runtime/sim/sim_loop.h"
#include "runtime/sim/sim_stream.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

namespace meridian {
namespace {

using std::chrono::seconds;

class VisitTest : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  VisitTest() {
    auto [ours, theirs] = SimStream::make_pair(loop_, {});
    client_ = std::move(theirs);
    visit_ = std::make_unique<Visit>(loop_, std::move(ours), VisitId(7), RequestId({1}));
  }
  void pass() { (void)loop_.run(loop_.now().time_since_epoch() + seconds(1)); }
  void TearDown() override {
    Scope scope(loop_);
    scope.spawn([](Visit& visit) -> Async<> { co_await visit.fibres().close(); }(*visit_));
    pass();
  }

  SimLoop loop_{GetParam()};
  std::unique_ptr<SimStream> client_;
  std::unique_ptr<Visit> visit_;
};

INSTANTIATE_TEST_SUITE_P(Seeds, VisitTest, ::testing::Range<std::uint64_t>(1, 6));

TEST_P(VisitTest, TheFirstReasonIsTheReason) {
  visit_->note_end("the client left");
  visit_->end("the node is stopping");
  visit_->note_end("something else");
  EXPECT_EQ(visit_->end_reason(), "the client left");
}

TEST_P(VisitTest, AnEndCancelsWhatTheVisitWaitsFor) {
  std::optional<Wake> woken;
  visit_->fibres().spawn([](Visit& visit, std::optional<Wake>& out) -> Async<> {
    out = co_await visit.stream().readable();
  }(*visit_, woken));
  pass();
  EXPECT_FALSE(woken);
  visit_->end("its token expired");
  pass();
  EXPECT_EQ(woken, Wake::cancelled);
  EXPECT_EQ(visit_->end_reason(), "its token expired");
}

TEST_P(VisitTest, DrainingIsToldOnce) {
  int told = 0;
  visit_->on_drain([&] { ++told; });
  EXPECT_FALSE(visit_->draining());
  visit_->drain();
  visit_->drain();
  EXPECT_TRUE(visit_->draining());
  EXPECT_EQ(told, 1);
}

// A door that does not say what draining means to it is asked by draining() alone.
TEST_P(VisitTest, DrainingNeedsNobodyToTell) {
  visit_->on_drain([] { FAIL() << "it was taken back"; });
  visit_->on_drain(nullptr);
  visit_->drain();
  EXPECT_TRUE(visit_->draining());
}

TEST_P(VisitTest, BeingLetInIsToldOnce) {
  int told = 0;
  visit_->on_let_in([&] { ++told; });
  visit_->let_in();
  visit_->let_in();
  EXPECT_EQ(told, 1);
}

TEST_P(VisitTest, AStreamIsExchangedForAnother) {
  auto [ours, theirs] = SimStream::make_pair(loop_, {});
  SimStream* const second = ours.get();
  const auto first = visit_->exchange_stream(std::move(ours));
  EXPECT_NE(first.get(), second);
  EXPECT_EQ(&visit_->stream(), second);
  EXPECT_TRUE(visit_->stream().certificate_names().empty());
}

}  // namespace
}  // namespace meridian
