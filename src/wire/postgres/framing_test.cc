// The framer: whatever way the bytes come, the messages are the same; and a length is believed only
// within the bounds of its type.

#include "wire/postgres/framing.h"

#include "wire/postgres/backend_writer.h"
#include "wire/postgres/frontend_writer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace meridian::postgres {
namespace {

const FramingRules frontend_rules(Sender::frontend);
const FramingRules backend_rules(Sender::backend);

std::string header(char type, std::uint32_t length) {
  std::string bytes(header_bytes, type);
  store_big_endian(bytes.data() + 1, length);
  return bytes;
}

std::string pipelined_messages() {
  std::string bytes;
  append_parse(bytes, "s1", "select $1", std::vector<std::uint32_t>{23});
  append_bind(bytes, "", "s1", std::vector<Value>{"42", std::nullopt});
  append_describe(bytes, Target::portal, "");
  append_execute(bytes, "");
  append_sync(bytes);
  append_query(bytes, "select 1");
  append_copy_data(bytes, std::string(1000, 'x'));
  append_terminate(bytes);
  return bytes;
}

// Feeds `bytes` in pieces of `piece` and returns the messages found.
std::vector<std::string> reframe(const FramingRules& rules,
                                 std::string_view bytes,
                                 std::size_t piece) {
  const Framer framer(rules);
  std::vector<std::string> messages;
  std::string buffer;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    buffer += bytes.substr(at, piece);
    for (;;) {
      const Frame frame = framer.next(buffer);
      if (frame.status != Frame::Status::whole) break;
      messages.push_back(buffer.substr(0, frame.size));
      buffer.erase(0, frame.size);
    }
  }
  EXPECT_TRUE(buffer.empty());
  return messages;
}

TEST(Framer, FindsTheSameMessagesHoweverTheBytesAreSplit) {
  const std::string bytes = pipelined_messages();
  const auto whole = reframe(frontend_rules, bytes, bytes.size());
  ASSERT_EQ(whole.size(), 8U);
  for (std::size_t piece = 1; piece < bytes.size(); ++piece)
    EXPECT_EQ(reframe(frontend_rules, bytes, piece), whole) << piece;
}

TEST(Framer, SaysHowManyBytesAreMissing) {
  const std::string bytes = pipelined_messages();
  const Framer framer(frontend_rules);
  const Frame whole = framer.next(bytes);
  ASSERT_EQ(whole.status, Frame::Status::whole);
  for (std::size_t size = 0; size < whole.size; ++size) {
    const Frame frame = framer.next(std::string_view(bytes).substr(0, size));
    EXPECT_EQ(frame.status, Frame::Status::partial);
    EXPECT_EQ(frame.missing, (size < header_bytes ? header_bytes : whole.size) - size);
  }
}

TEST(Framer, PassesALargeMessageOnInPartsAndFindsTheNext) {
  std::string bytes;
  append_copy_data(bytes, std::string(100'000, 'x'));
  const std::size_t first_size = bytes.size();
  append_copy_done(bytes);

  Framer framer(frontend_rules);
  std::string_view rest(bytes);
  const Frame frame = framer.next(rest.substr(0, 1000));
  ASSERT_EQ(frame.status, Frame::Status::partial);
  ASSERT_TRUE(frame.streamable);
  EXPECT_EQ(frame.size, first_size);
  framer.pass(frame, 1000);
  rest.remove_prefix(1000);
  std::size_t passed = 1000;
  while (framer.passing()) {
    const std::size_t taken = framer.take(std::min<std::size_t>(rest.size(), 777));
    passed += taken;
    rest.remove_prefix(taken);
  }
  EXPECT_EQ(passed, first_size);
  EXPECT_EQ(framer.next(rest).frontend(), FrontendType::copy_done);
}

// CVE-2026-6668, CVE-2026-107348: lengths above 2^31 made a buffer grow in a loop; CVE-2024-27304:
// a length that wrapped at 4 GiB split one message into several.
TEST(Framer, RefusesNegativeAndFourGigabyteLengths) {
  for (const std::uint32_t length : {0x80000000U, 0xffffffffU, 0xfffffffcU, 0x7fffffffU}) {
    for (int type = 0; type < 256; ++type) {
      const std::string bytes = header(static_cast<char>(type), length);
      EXPECT_EQ(Framer(frontend_rules).next(bytes).status, Frame::Status::refused) << type;
      EXPECT_EQ(Framer(backend_rules).next(bytes).status, Frame::Status::refused) << type;
    }
  }
}

TEST(Framer, RefusesLengthsBelowFour) {
  for (std::uint32_t length = 0; length < 4; ++length) {
    EXPECT_EQ(Framer(frontend_rules).next(header('Q', length)).status, Frame::Status::refused);
    EXPECT_EQ(Framer(backend_rules).next(header('D', length)).status, Frame::Status::refused);
  }
}

TEST(Framer, RefusesTypesOfTheOtherDirection) {
  const auto allowed = [](const FramingRules& rules) {
    std::string types;
    for (int type = 0; type < 256; ++type) {
      const FramingRules::Rule& rule = rules[static_cast<char>(type)];
      if (rule.length_min <= rule.length_max) types += static_cast<char>(type);
    }
    return types;
  };
  EXPECT_EQ(allowed(frontend_rules), "BCDEFHPQSXcdfp");
  EXPECT_EQ(allowed(backend_rules), "123ACDEGHIKNRSTVWZcdnstv");
  EXPECT_EQ(Framer(frontend_rules).next(header('Z', 5)).status, Frame::Status::refused);
  EXPECT_EQ(Framer(backend_rules).next(header('Q', 5)).status, Frame::Status::refused);
}

TEST(Framer, HoldsSmallMessagesToTheirExactSize) {
  EXPECT_EQ(Framer(frontend_rules).next(header('S', 4)).status, Frame::Status::whole);
  EXPECT_EQ(Framer(frontend_rules).next(header('S', 5)).status, Frame::Status::refused);
  EXPECT_EQ(Framer(backend_rules).next(header('Z', 5) + "I").status, Frame::Status::whole);
  EXPECT_EQ(Framer(backend_rules).next(header('Z', 6)).status, Frame::Status::refused);
  EXPECT_EQ(Framer(backend_rules).next(header('K', 4 + 4 + 257)).status, Frame::Status::refused);
}

TEST(Framer, AppliesTheLimitsOfTheConfiguration) {
  const FramingRules rules(Sender::frontend,
                           {.message_bytes_max = 100,
                            .buffered_bytes_max = 50,
                            .password_bytes_max = 40,
                            .small_bytes_max = 30});
  const Framer framer(rules);
  EXPECT_EQ(framer.next(header('B', 100)).status, Frame::Status::partial);
  EXPECT_EQ(framer.next(header('B', 101)).status, Frame::Status::refused);
  EXPECT_EQ(framer.next(header('Q', 50)).status, Frame::Status::partial);
  EXPECT_EQ(framer.next(header('Q', 51)).status, Frame::Status::refused);
  EXPECT_EQ(framer.next(header('p', 41)).status, Frame::Status::refused);
  EXPECT_EQ(framer.next(header('D', 31)).status, Frame::Status::refused);
}

// PgBouncer crashed at passwords of 1,024 characters (#1215).
TEST(Framer, TakesAPasswordOfSixteenKilobytes) {
  std::string bytes;
  append_password(bytes, std::string(16 * 1024, 'x'));
  EXPECT_EQ(Framer(frontend_rules).next(bytes).status, Frame::Status::whole);
}

TEST(Framer, NamesTypeLengthAndLimitInItsRefusal) {
  EXPECT_EQ(Framer(frontend_rules).refusal(header('Q', 0xffffffff)).detail(),
            "frontend message \"Q\" of 4294967295 bytes exceeds buffered_bytes_max=16777216");
  EXPECT_EQ(Framer(frontend_rules).refusal(header('S', 5)).detail(),
            "frontend message \"S\" of 5 bytes exceeds the protocol's maximum=4");
  EXPECT_EQ(Framer(backend_rules).refusal(header('Z', 3)).detail(),
            "backend message \"Z\" says it has 3 bytes; at least 5 are needed");
  EXPECT_EQ(Framer(backend_rules).refusal(header('\x01', 8)).detail(),
            "\"\\x01\" is no type of a backend message");
}

}  // namespace
}  // namespace meridian::postgres
