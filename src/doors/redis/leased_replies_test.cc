// On a visit's own link replies are told from messages in both versions of the protocol, however
// what comes is split.

#include "doors/redis/leased_replies.h"

#include <gtest/gtest.h>

#include <string>

namespace meridian {
namespace {

const std::string message2 = "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n";
const std::string message3 = ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n";

std::string confirmation(char type, const std::string& kind, int left) {
  return std::string(1, type) + "3\r\n$" + std::to_string(kind.size()) + "\r\n" + kind +
         "\r\n$1\r\nc\r\n:" + std::to_string(left) + "\r\n";
}

// Whole, and byte by byte: settled only behind the last byte.
void expect_settled_by(const LeasedReplies& begin, const std::string& bytes, bool subscribed) {
  LeasedReplies whole = begin;
  ASSERT_TRUE(whole.pass(bytes, subscribed));
  EXPECT_TRUE(whole.settled()) << bytes;
  LeasedReplies split = begin;
  for (const char byte : bytes) {
    EXPECT_FALSE(split.settled()) << bytes;
    ASSERT_TRUE(split.pass({&byte, 1}, subscribed));
  }
  EXPECT_TRUE(split.settled()) << bytes;
}

TEST(LeasedRepliesTest, EachRequestGetsItsReply) {
  LeasedReplies replies;
  EXPECT_TRUE(replies.settled());
  replies.expect(1, false, false);
  replies.expect(1, false, false);
  replies.expect(1, false, false);
  expect_settled_by(replies, "+OK\r\n+QUEUED\r\n*2\r\n:1\r\n$2\r\nhi\r\n", false);
}

TEST(LeasedRepliesTest, AConfirmationComesForEachChannel) {
  for (const char type : {'*', '>'}) {
    LeasedReplies replies;
    replies.expect(2, true, false);
    expect_settled_by(
        replies, confirmation(type, "subscribe", 1) + confirmation(type, "subscribe", 2), true);
  }
}

TEST(LeasedRepliesTest, MessagesBeforeTheLastConfirmationAreNotTakenForIt) {
  for (const char type : {'*', '>'}) {
    const std::string message = type == '*' ? message2 : message3;
    LeasedReplies replies;
    replies.expect(1, true, true);
    expect_settled_by(replies, message + message + confirmation(type, "unsubscribe", 0), false);
  }
}

TEST(LeasedRepliesTest, MessagesBetweenRepliesDoNotCount) {
  LeasedReplies resp3;
  resp3.expect(1, false, true);
  expect_settled_by(resp3, message3 + "$2\r\nhi\r\n", true);
  LeasedReplies resp2;
  resp2.expect(1, false, true);
  expect_settled_by(resp2, message2 + "*2\r\n$4\r\npong\r\n$0\r\n\r\n", true);
}

// A list may begin with any word; it is a message only to who is subscribed.
TEST(LeasedRepliesTest, AReplyThatLooksLikeAMessageIsOne) {
  LeasedReplies replies;
  replies.expect(1, false, false);
  expect_settled_by(replies, message2, false);
}

TEST(LeasedRepliesTest, AnErrorStandsForAllConfirmations) {
  LeasedReplies replies;
  replies.expect(3, true, false);
  replies.expect(1, false, false);
  expect_settled_by(replies, "-NOPERM no\r\n+PONG\r\n", false);
}

TEST(LeasedRepliesTest, AMessageInPartIsNoRest) {
  LeasedReplies replies;
  ASSERT_TRUE(replies.pass(message3.substr(0, 10), true));
  EXPECT_FALSE(replies.between());
  EXPECT_FALSE(replies.settled());
  ASSERT_TRUE(replies.pass(message3.substr(10), true));
  EXPECT_TRUE(replies.settled());
}

TEST(LeasedRepliesTest, AServerOutOfStepIsNoticed) {
  LeasedReplies replies;
  EXPECT_FALSE(replies.pass("what is this", false));
}

TEST(LeasedRepliesTest, BehindMonitorNothingIsExpected) {
  LeasedReplies replies;
  replies.expect(1, false, false);
  replies.give_up();
  replies.expect(1, false, false);
  EXPECT_TRUE(replies.settled());
}

}  // namespace
}  // namespace meridian
