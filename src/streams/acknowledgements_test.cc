// Nothing is acknowledged that covers a message which is not done.

#include "streams/acknowledgements.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace meridian {
namespace {

struct AcknowledgementsTest : ::testing::Test {
  void arrive(std::uint64_t first, std::uint64_t last) {
    for (std::uint64_t sequence = first; sequence <= last; ++sequence)
      (void)progress.arrive({sequence, static_cast<std::int64_t>(sequence)});
  }
  void finish(std::uint64_t first, std::uint64_t last) {
    for (std::uint64_t sequence = first; sequence <= last; ++sequence)
      progress.finish(sequence);
  }
  std::string take() {
    std::string text;
    for (const auto& [reply, word] : acknowledgements.take(progress))
      text += (text.empty() ? "" : ", ") + reply + " " + word;
    return text;
  }

  Progress progress;
  Acknowledgements acknowledgements;
};

TEST_F(AcknowledgementsTest, WaitsForWhatIsBefore) {
  arrive(1, 30);
  finish(11, 20);
  acknowledgements.owe(20, "b");
  EXPECT_EQ(take(), "");
  finish(1, 10);
  acknowledgements.owe(10, "a");
  EXPECT_EQ(take(), "b +ACK");
  EXPECT_EQ(take(), "");
  finish(21, 30);
  acknowledgements.owe(30, "c");
  EXPECT_EQ(take(), "c +ACK");
  EXPECT_EQ(acknowledgements.owed_count(), 0U);
}

TEST_F(AcknowledgementsTest, TellsOfEachDeadOne) {
  arrive(1, 20);
  finish(11, 20);
  acknowledgements.owe_dead(13, "x", "poison");
  acknowledgements.owe(20, "b");
  finish(1, 9);
  acknowledgements.owe(9, "early");
  EXPECT_EQ(take(), "early +ACK");
  finish(10, 10);
  acknowledgements.owe_dead(10, "y", "unreadable");
  EXPECT_EQ(take(), "y +TERM unreadable, x +TERM poison, b +ACK");
}

TEST_F(AcknowledgementsTest, MessagesOfOthersWaitForThoseBeforeThemToo) {
  arrive(1, 1);
  acknowledgements.owe_other(2, "b");
  acknowledgements.owe_other(3, "c");
  EXPECT_EQ(acknowledgements.owed_count(), 1U);
  EXPECT_EQ(take(), "");
  arrive(4, 4);
  acknowledgements.owe_other(5, "e");
  progress.finish(1);
  acknowledgements.owe(1, "a");
  // What 3 says is said by 5, which waits for 4.
  EXPECT_EQ(take(), "a +ACK");
  progress.finish(4);
  acknowledgements.owe(4, "d");
  EXPECT_EQ(take(), "e +ACK");
  acknowledgements.owe_other(6, "f");
  EXPECT_EQ(take(), "f +ACK");
}

TEST_F(AcknowledgementsTest, ASequenceThatIsUsedAgainHoldsBackThoseAboveIt) {
  progress = Progress({.sequence = 100, .time = 100});
  EXPECT_EQ(progress.arrive({50, 500}), Progress::Arrival::reused);
  EXPECT_EQ(progress.arrive({51, 510}), Progress::Arrival::reused);
  progress.finish(51);
  acknowledgements.owe(51, "b");
  EXPECT_EQ(take(), "");
  progress.finish(50);
  EXPECT_EQ(take(), "b +ACK");
}

}  // namespace
}  // namespace meridian
