// The first packet: each form is recognised from any prefix, and what does not fit it exactly is
// refused.

#include "wire/postgres/startup.h"

#include "wire/postgres/bytes.h"
#include "wire/postgres/frontend_writer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace meridian::postgres {
namespace {

std::string startup(std::vector<Parameter> parameters, ProtocolVersion version = version_3_0) {
  std::string bytes;
  append_startup(bytes, version, parameters);
  return bytes;
}

std::string packet(std::uint32_t code, std::string_view rest = {}) {
  std::string bytes;
  MessageWriter(bytes, 0).number(code).bytes(rest).finish();
  return bytes;
}

StartupMessage parsed_startup(std::string_view bytes) {
  auto parsed = parse_first_packet(bytes);
  EXPECT_TRUE(parsed) << parsed.error().detail();
  return std::get<StartupMessage>(*parsed);
}

TEST(Recognise, NamesEachOpeningFromEightBytesAndIsUnclearBefore) {
  std::string ssl;
  append_ssl_request(ssl);
  std::string cancel;
  append_cancel_request(cancel, 1, "abcd");
  const std::vector<std::pair<std::string, Opening>> openings = {
      {ssl, Opening::ssl_request},
      {packet(80'877'104), Opening::gss_request},
      {cancel, Opening::cancel},
      {startup({{"user", "a"}}), Opening::startup},
      {startup({{"user", "a"}}, version_3_2), Opening::startup},
  };
  for (const auto& [bytes, opening] : openings) {
    for (std::size_t size = 0; size < 8; ++size)
      EXPECT_EQ(recognise(bytes.substr(0, size)), Opening::unclear);
    EXPECT_EQ(recognise(bytes), opening);
  }
  EXPECT_EQ(recognise("\x16"), Opening::unclear);
  EXPECT_EQ(recognise("\x16\x03\x01"), Opening::direct_tls);
}

TEST(Recognise, CallsOtherProtocolsForeign) {
  for (const std::string_view head :
       {"GET / HTTP/1.1\r\n", "*1\r\n$4\r\nPING\r\n", "CONNECT {}\r\n", "\x16\x02"})
    EXPECT_EQ(recognise(head), Opening::foreign) << head;
  EXPECT_EQ(recognise(std::string("\0\0\0\x08\0\x02\0\0", 8)), Opening::foreign);  // Version 2.
  EXPECT_EQ(recognise(std::string("\0\x02\0\0\0\x03\0\0", 8)), Opening::foreign);  // 128 KiB.
}

TEST(FirstPacket, ReadsTheParametersOfAStartup) {
  const std::string bytes =
      startup({{"user", "checkout"}, {"database", "shop"}, {"application_name", ""}});
  EXPECT_EQ(*first_packet_bytes(bytes), bytes.size());
  const StartupMessage message = parsed_startup(bytes);
  EXPECT_EQ(message.user(), "checkout");
  EXPECT_EQ(message.database(), "shop");
  ASSERT_EQ(message.parameters.size(), 3U);
  EXPECT_EQ(message.find("application_name")->value, "");
  EXPECT_EQ(message.find("options"), nullptr);
}

TEST(FirstPacket, TakesTheUserForTheDatabaseWhenThereIsNone) {
  EXPECT_EQ(parsed_startup(startup({{"user", "a"}})).database(), "a");
  EXPECT_EQ(parsed_startup(startup({{"user", "a"}, {"database", ""}})).database(), "a");
}

TEST(FirstPacket, RefusesEveryTruncationAndEveryTrailingByte) {
  const std::string bytes = startup({{"user", "a"}, {"database", "b"}});
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(parse_first_packet(bytes.substr(0, size))) << size;
  // The length says less than the body has, and the other way round.
  for (std::int32_t difference = -static_cast<std::int32_t>(bytes.size()) + 4; difference < 8;
       ++difference) {
    std::string wrong = bytes + std::string(8, '\0');
    store_big_endian(wrong.data(), static_cast<std::int32_t>(bytes.size()) + difference);
    wrong.resize(bytes.size() + static_cast<std::size_t>(std::max(difference, 0)));
    EXPECT_EQ(parse_first_packet(wrong).has_value(), difference == 0) << difference;
  }
}

// CVE-2021-23214, CVE-2021-3935: bytes behind SSLRequest were taken for encrypted ones.
TEST(FirstPacket, RefusesBytesInClearBehindARequestForEncryption) {
  std::string bytes;
  append_ssl_request(bytes);
  EXPECT_TRUE(parse_first_packet(bytes));
  bytes += startup({{"user", "admin"}});
  const auto parsed = parse_first_packet(bytes);
  ASSERT_FALSE(parsed);
  EXPECT_TRUE(parsed.error().detail().ends_with("in clear behind a request for encryption"));
  EXPECT_FALSE(parse_first_packet(packet(80'877'104) + "x"));
}

TEST(FirstPacket, RefusesLengthsOutsideOfItsBoundsBeforeAnythingIsRead) {
  for (const std::uint32_t length : {0U, 7U, 65'537U, 0x7fffffffU, 0x80000000U, 0xffffffffU}) {
    std::string head(4, '\0');
    store_big_endian(head.data(), length);
    EXPECT_FALSE(first_packet_bytes(head)) << length;
  }
  EXPECT_EQ(*first_packet_bytes("\0\0"), 0U);
}

TEST(FirstPacket, ReadsCancelKeysOfBothProtocols) {
  for (const std::size_t size : {4UZ, 32UZ, 256UZ}) {
    const std::string key(size, 'k');
    std::string bytes;
    append_cancel_request(bytes, 77, key);
    const auto parsed = parse_first_packet(bytes);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(std::get<CancelRequest>(*parsed).process_id, 77U);
    EXPECT_EQ(std::get<CancelRequest>(*parsed).key, key);
  }
  for (const std::size_t size : {0UZ, 3UZ, 257UZ}) {
    std::string bytes;
    append_cancel_request(bytes, 77, std::string(size, 'k'));
    EXPECT_FALSE(parse_first_packet(bytes)) << size;
  }
}

TEST(FirstPacket, RefusesTwoOfWhatDecidesWhoLogsInToWhat) {
  for (const std::string_view name : {"user", "database", "options", "replication"}) {
    EXPECT_FALSE(parse_first_packet(startup({{"user", "a"}, {name, "x"}, {name, "y"}}))) << name;
  }
  const std::string bytes = startup({{"user", "a"}, {"TimeZone", "UTC"}, {"TimeZone", "CET"}});
  const StartupMessage twice = parsed_startup(bytes);
  EXPECT_EQ(twice.find("TimeZone")->value, "CET");
}

TEST(FirstPacket, RefusesAStartupWithoutAUserAndWithTooManyParameters) {
  EXPECT_FALSE(parse_first_packet(startup({})));
  EXPECT_FALSE(parse_first_packet(startup({{"user", ""}})));
  std::vector<Parameter> parameters(startup_parameters_max, Parameter{"TimeZone", "UTC"});
  parameters[0] = {"user", "a"};
  EXPECT_TRUE(parse_first_packet(startup(parameters)));
  parameters.push_back({"TimeZone", "UTC"});
  EXPECT_FALSE(parse_first_packet(startup(parameters)));
}

TEST(FirstPacket, RefusesOtherMajorVersions) {
  EXPECT_FALSE(parse_first_packet(startup({{"user", "a"}}, {.major = 2, .minor = 0})));
  EXPECT_FALSE(parse_first_packet(startup({{"user", "a"}}, {.major = 4, .minor = 0})));
}

TEST(Negotiate, AnswersUnknownMinorVersionsAndOptions) {
  const auto negotiated = [](ProtocolVersion version, std::vector<Parameter> extra = {}) {
    extra.insert(extra.begin(), {"user", "a"});
    const std::string bytes = startup(extra, version);
    const Negotiation negotiation = negotiate(parsed_startup(bytes));
    return std::pair(negotiation.version, negotiation.needed);
  };
  EXPECT_EQ(negotiated(version_3_0), std::pair(version_3_0, false));
  EXPECT_EQ(negotiated(version_3_2), std::pair(version_3_2, false));
  EXPECT_EQ(negotiated({.major = 3, .minor = 1}), std::pair(version_3_0, true));
  EXPECT_EQ(negotiated({.major = 3, .minor = 9999}), std::pair(version_3_2, true));
  EXPECT_EQ(negotiated(version_3_2, {{"_pq_.x", "1"}}), std::pair(version_3_2, true));
}

}  // namespace
}  // namespace meridian::postgres
