// Where publishing goes on is decided by the stream's own last message; what is missing is never
// passed over without the operator's word.

#include "streams/outbox_plan.h"

#include <gtest/gtest.h>

namespace meridian {
namespace {

constexpr std::string_view created = "2026-01-01T00:00:00Z";

OutboxMarks marks_of(std::uint64_t numbered, std::uint64_t published, std::uint64_t sequence) {
  OutboxMarks marks;
  marks.numbered = numbered;
  marks.published = published;
  marks.stream_sequence = sequence;
  if (published != 0) marks.stream_created = created;
  return marks;
}

StreamTail tail_of(std::uint64_t sequence, std::optional<std::uint64_t> number) {
  return {.created = std::string(created), .last_sequence = sequence, .last_number = number};
}

OutboxStart start_of(const OutboxMarks& marks, const StreamTail& tail) {
  const auto decided = decide_start(marks, tail);
  const auto* const start = std::get_if<OutboxStart>(&decided);
  EXPECT_TRUE(start) << std::get<OutboxGap>(decided).text;
  return start ? *start : OutboxStart{};
}

TEST(OutboxStart, FollowsTheStreamWhateverTheDatabaseRemembers) {
  EXPECT_EQ(start_of(marks_of(0, 0, 0), tail_of(0, {})), (OutboxStart{1, 0}));
  EXPECT_EQ(start_of(marks_of(9, 0, 0), tail_of(0, {})), (OutboxStart{1, 0}));
  EXPECT_EQ(start_of(marks_of(9, 5, 5), tail_of(5, 5)), (OutboxStart{6, 5}));
  // More was published than was written down.
  EXPECT_EQ(start_of(marks_of(9, 5, 5), tail_of(8, 8)), (OutboxStart{9, 8}));
  EXPECT_EQ(start_of(marks_of(9, 5, 5), tail_of(9, 9)), (OutboxStart{10, 9}));
  // Another wrote into the stream: numbers and sequences are two things.
  EXPECT_EQ(start_of(marks_of(9, 5, 5), tail_of(20, 8)), (OutboxStart{9, 20}));
}

TEST(OutboxStart, CountsMessagesThatAgeHasRemoved) {
  EXPECT_EQ(start_of(marks_of(9, 5, 105), tail_of(105, {})), (OutboxStart{6, 105}));
  EXPECT_EQ(start_of(marks_of(9, 5, 105), tail_of(107, {})), (OutboxStart{8, 107}));
}

TEST(OutboxStart, StatesWhatTheStreamHasLost) {
  for (const StreamTail& tail : {tail_of(3, 3), tail_of(0, {}), tail_of(4, {})}) {
    const auto decided = decide_start(marks_of(9, 5, 5), tail);
    const auto* const gap = std::get_if<OutboxGap>(&decided);
    ASSERT_TRUE(gap);
    EXPECT_EQ(gap->kind, OutboxGap::Kind::stream_lost);
    EXPECT_TRUE(gap->text.contains(" to 5 ")) << gap->text;
    EXPECT_TRUE(gap->text.contains("meridian outbox resume")) << gap->text;
  }
  StreamTail anew = tail_of(0, {});
  anew.created = "2026-02-02T00:00:00Z";
  const auto decided = decide_start(marks_of(9, 5, 5), anew);
  ASSERT_TRUE(std::holds_alternative<OutboxGap>(decided));
  EXPECT_TRUE(std::get<OutboxGap>(decided).text.contains("made anew"));
  // A stream of another making whose messages are gone says nothing.
  anew.last_sequence = 77;
  EXPECT_TRUE(std::holds_alternative<OutboxGap>(decide_start(marks_of(9, 5, 5), anew)));
}

TEST(OutboxStart, StatesThatTheDatabaseWasSetBack) {
  const auto decided = decide_start(marks_of(4, 4, 4), tail_of(7, 7));
  const auto* const gap = std::get_if<OutboxGap>(&decided);
  ASSERT_TRUE(gap);
  EXPECT_EQ(gap->kind, OutboxGap::Kind::database_lost);
  EXPECT_EQ(gap->stream_number, 7U);
  // What it has not given cannot be published once more.
  OutboxMarks marks = marks_of(4, 4, 4);
  marks.resume = OutboxResume::republish;
  EXPECT_TRUE(std::holds_alternative<OutboxGap>(decide_start(marks, tail_of(7, 7))));
  EXPECT_FALSE(adopted_marks(marks, tail_of(7, 7)));
  marks.resume = OutboxResume::skip;
  EXPECT_EQ(start_of(marks, tail_of(7, 7)), (OutboxStart{8, 7}));
  const auto adopted = adopted_marks(marks, tail_of(7, 7));
  ASSERT_TRUE(adopted);
  EXPECT_EQ(adopted->numbered, 7U);
  EXPECT_EQ(adopted->published, 7U);
  EXPECT_EQ(adopted->resume, OutboxResume::none);
}

TEST(OutboxStart, DoesWhatTheOperatorDecides) {
  OutboxMarks marks = marks_of(9, 5, 5);
  marks.resume = OutboxResume::republish;
  EXPECT_EQ(start_of(marks, tail_of(3, 3)), (OutboxStart{4, 3}));
  EXPECT_EQ(adopted_marks(marks, tail_of(3, 3))->published, 3U);
  marks.resume = OutboxResume::skip;
  EXPECT_EQ(start_of(marks, tail_of(3, 3)), (OutboxStart{6, 3}));
  const auto adopted = adopted_marks(marks, tail_of(3, 3));
  ASSERT_TRUE(adopted);
  EXPECT_EQ(adopted->published, 5U);
  EXPECT_EQ(adopted->stream_sequence, 3U);
  // From then on it is as if nothing had been: the same stream is no gap again.
  EXPECT_EQ(start_of(*adopted, tail_of(3, {})), (OutboxStart{6, 3}));
}

TEST(OutboxRun, EachMessageFollowsTheOneBefore) {
  OutboxRun run({.next_number = 11, .last_sequence = 100});
  EXPECT_FALSE(run.acknowledged(101)) << "nothing is under way";
  for (std::uint64_t i = 0; i < 5; ++i) {
    EXPECT_EQ(run.next_number(), 11 + i);
    EXPECT_EQ(run.expected_sequence(), 100 + i);
    run.sent();
  }
  EXPECT_EQ(run.in_flight(), 5U);
  EXPECT_TRUE(run.acknowledged(101));
  EXPECT_TRUE(run.acknowledged(102));
  EXPECT_EQ(run.expected_sequence(), 105U);
  EXPECT_EQ(run.published(), 12U);
  EXPECT_EQ(run.published_sequence(), 102U);
  EXPECT_FALSE(run.acknowledged(104)) << "103 was never acknowledged";
  EXPECT_FALSE(run.acknowledged(102)) << "that was an earlier one";
  EXPECT_EQ(run.published(), 12U);
}

// Two databases with one stream, or one that takes another's place.
TEST(OutboxPlan, AnotherOutboxInTheStreamIsTheOperatorsToDecide) {
  OutboxMarks marks = marks_of(9, 5, 5);
  marks.installation = "us";
  StreamTail tail = tail_of(7, 900);
  tail.last_installation = "them";
  tail.last_number_sequence = 7;
  const auto decided = decide_start(marks, tail);
  const auto* const gap = std::get_if<OutboxGap>(&decided);
  ASSERT_TRUE(gap);
  EXPECT_EQ(gap->kind, OutboxGap::Kind::another);
  EXPECT_TRUE(gap->text.contains("of another installation, them; this one is us")) << gap->text;
  EXPECT_FALSE(adopted_marks(marks, tail));
  // Also for who has never published, and in a stream that was made anew.
  OutboxMarks fresh = marks_of(0, 0, 0);
  fresh.installation = "us";
  EXPECT_TRUE(std::holds_alternative<OutboxGap>(decide_start(fresh, tail)));
  OutboxMarks elsewhere = marks;
  elsewhere.stream_created = "2025-01-01T00:00:00Z";
  elsewhere.stream_sequence = 100;
  EXPECT_TRUE(std::holds_alternative<OutboxGap>(decide_start(elsewhere, tail)));

  marks.resume = OutboxResume::republish;
  EXPECT_EQ(start_of(marks, tail), (OutboxStart{6, 7}));
  EXPECT_EQ(adopted_marks(marks, tail)->published, 5U);
  marks.resume = OutboxResume::skip;
  EXPECT_EQ(start_of(marks, tail), (OutboxStart{10, 7}));
  const auto adopted = adopted_marks(marks, tail);
  ASSERT_TRUE(adopted);
  EXPECT_EQ(adopted->published, 9U);
  // What was accepted is no gap any more; what comes after it is one.
  EXPECT_EQ(start_of(*adopted, tail), (OutboxStart{10, 7}));
  tail.last_sequence = tail.last_number_sequence = 8;
  EXPECT_TRUE(std::holds_alternative<OutboxGap>(decide_start(*adopted, tail)));
  // Our own behind it are ours.
  tail.last_sequence = tail.last_number_sequence = 9;
  tail.last_installation = "us";
  tail.last_number = 10;
  OutboxMarks later = *adopted;
  later.numbered = 12;
  EXPECT_EQ(start_of(later, tail), (OutboxStart{11, 9}));
}

}  // namespace
}  // namespace meridian
