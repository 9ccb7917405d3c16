// Requests come out of the decoder as redis-server would read them, however the bytes were split,
// and whatever redis-server refuses is refused in its words. The wording was taken down from
// redis-server 7.0.15; test/integration/redis_wording_test.cc asks the real one.

#include "wire/resp/request_decoder.h"

#include "wire/resp/encoder.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace meridian::resp {
namespace {

using Words = std::vector<std::string>;

// What a decoder made of some bytes: the requests, then perhaps the error.
struct Decoded {
  std::vector<Words> requests;
  std::string error;
  friend bool operator==(const Decoded&, const Decoded&) = default;
};

void PrintTo(const Decoded& decoded, std::ostream* out) {
  for (const Words& request : decoded.requests)
    *out << ::testing::PrintToString(request) << ' ';
  *out << '"' << decoded.error << '"';
}

// Takes all requests out of `input`; false after an error.
bool drain(RequestDecoder& decoder, std::string_view input, Decoded& into) {
  for (;;) {
    auto request = decoder.next(input);
    if (!request) {
      EXPECT_EQ(request.error().code(), Errc::invalid);
      into.error = request.error().detail();
      return false;
    }
    if (!*request) {
      EXPECT_TRUE(input.empty());
      return true;
    }
    into.requests.emplace_back((*request)->arguments.begin(), (*request)->arguments.end());
  }
}

Decoded decode_in_pieces(std::string_view bytes, std::size_t piece_size, RequestLimits limits) {
  RequestDecoder decoder(limits);
  decoder.set_authenticated(true);
  Decoded decoded;
  while (!bytes.empty()) {
    // A copy of its own, so that a view beyond it is found by the sanitizer.
    const std::string piece(bytes.substr(0, piece_size));
    bytes.remove_prefix(piece.size());
    if (!drain(decoder, piece, decoded)) break;
  }
  return decoded;
}

// Decodes whole, in pieces of every size up to 32, and split in two at every byte: all the same.
Decoded decode(std::string_view bytes, RequestLimits limits = {}) {
  const Decoded whole = decode_in_pieces(bytes, std::max<std::size_t>(bytes.size(), 1), limits);
  for (std::size_t size = 1; size <= 32 && size < bytes.size(); ++size)
    EXPECT_EQ(decode_in_pieces(bytes, size, limits), whole) << "in pieces of " << size;
  for (std::size_t at = 1; at < bytes.size() && bytes.size() < 300; ++at) {
    RequestDecoder decoder(limits);
    decoder.set_authenticated(true);
    Decoded split;
    if (drain(decoder, std::string(bytes.substr(0, at)), split)) {
      drain(decoder, std::string(bytes.substr(at)), split);
    }
    EXPECT_EQ(split, whole) << "split at " << at;
  }
  return whole;
}

std::string error_of(std::string_view bytes, RequestLimits limits = {}) {
  return decode(bytes, limits).error;
}

TEST(RequestDecoder, ReadsArraysOfBulkStrings) {
  EXPECT_EQ(decode("*2\r\n$3\r\nGET\r\n$5\r\nhello\r\n*1\r\n$4\r\nPING\r\n").requests,
            (std::vector<Words>{{"GET", "hello"}, {"PING"}}));
}

TEST(RequestDecoder, AnArgumentMayHoldAnyBytesAndNone) {
  const std::string bytes("a\0\r\n$*\xff", 7);
  std::string request;
  append_request(request, {"SET", "", bytes});
  EXPECT_EQ(decode(request).requests, (std::vector<Words>{{"SET", "", bytes}}));
}

TEST(RequestDecoder, SkipsRequestsWithoutArguments) {
  EXPECT_EQ(decode("*0\r\n\r\n*-1\r\n\n  \r\n*-5\r\nPING\r\n").requests,
            (std::vector<Words>{{"PING"}}));
}

TEST(RequestDecoder, ReadsInlineLinesByTheRulesOfRedis) {
  EXPECT_EQ(decode("PING\n").requests, (std::vector<Words>{{"PING"}}));
  EXPECT_EQ(decode("  set\ta  \"b c\" 'd e'\r\n").requests,
            (std::vector<Words>{{"set", "a", "b c", "d e"}}));
  EXPECT_EQ(decode("echo \"a\\x41\\n\\q\\\"\"\r\n").requests,
            (std::vector<Words>{{"echo", "aA\nq\""}}));
  EXPECT_EQ(decode("echo 'a\\'b\\n'\r\n").requests, (std::vector<Words>{{"echo", "a'b\\n"}}));
  EXPECT_EQ(decode("echo a\"b c\"\r\n").requests, (std::vector<Words>{{"echo", "ab c"}}));
  EXPECT_EQ(decode("echo \"\" ''\r\n").requests, (std::vector<Words>{{"echo", "", ""}}));
  EXPECT_EQ(decode("echo \"\\xZZ\" \"\\x4\"\r\n").requests,
            (std::vector<Words>{{"echo", "xZZ", "x4"}}));
  EXPECT_EQ(decode("\vping\vx \"\xff\x01\"\r\n").requests,
            (std::vector<Words>{{"ping\vx", "\xff\x01"}}));
  EXPECT_EQ(decode("$4\r\n").requests, (std::vector<Words>{{"$4"}}));
}

TEST(RequestDecoder, RefusesInTheWordsOfRedis) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"*x\r\n", "invalid multibulk length"},
      {"*\r\n", "invalid multibulk length"},
      {"*01\r\n", "invalid multibulk length"},
      {"*+1\r\n", "invalid multibulk length"},
      {"* 1\r\n", "invalid multibulk length"},
      {"*1 \r\n", "invalid multibulk length"},
      {"*-0\r\n", "invalid multibulk length"},
      {"*1\n$4\r\nPING\r\n", "invalid multibulk length"},
      {"*1\rx$4\r\nPING\r\n", "invalid multibulk length"},
      {"*2147483648\r\n", "invalid multibulk length"},
      {"*4294967297\r\n", "invalid multibulk length"},
      {"*18446744073709551617\r\n", "invalid multibulk length"},
      {"*1111111111111111111111111111111111111111\r\n", "invalid multibulk length"},
      {"*1\r\n$-1\r\n", "invalid bulk length"},
      {"*1\r\n$-4294967296\r\n", "invalid bulk length"},
      {"*1\r\n$x\r\n", "invalid bulk length"},
      {"*1\r\n$\r\n", "invalid bulk length"},
      {"*1\r\n$18446744073709551615\r\n", "invalid bulk length"},
      {"*1\r\nPING\r\n", "expected '$', got 'P'"},
      {"*1\r\n+OK\r\n", "expected '$', got '+'"},
      {"*1\r\n*1\r\n", "expected '$', got '*'"},
      {"*1\r\n\r\n", "expected '$', got ' '"},
      {"*1\r\n\xffOK\r\n", "expected '$', got '\xff'"},
      {"echo \"abc\r\n", "unbalanced quotes in request"},
      {"echo 'abc\r\n", "unbalanced quotes in request"},
      {"echo \"a\"b\r\n", "unbalanced quotes in request"},
      {"echo 'a'b\r\n", "unbalanced quotes in request"},
      {"echo \"abc\\\r\n", "unbalanced quotes in request"},
      {std::string("echo a\0b\r\n", 10), "NUL byte in inline request"},
      {std::string("*1\r\n\0OK\r\n", 9), "expected '$', got ' '"},
      {std::string("*1\0\r\n", 5), "invalid multibulk length"},
  };
  for (const auto& [bytes, error] : cases) {
    const Decoded decoded = decode(bytes);
    EXPECT_EQ(decoded.error, "Protocol error: " + error) << bytes;
    EXPECT_TRUE(decoded.requests.empty()) << bytes;
  }
}

TEST(RequestDecoder, AnArgumentEndsInCrLf) {
  const std::string expected = "Protocol error: expected CR LF after a bulk string of 4 bytes";
  EXPECT_EQ(error_of("*1\r\n$4\r\nPINGxx"), expected);
  EXPECT_EQ(error_of("*1\r\n$4\r\nPING\r\r"), expected);
  EXPECT_EQ(error_of("*1\r\n$4\r\nPING\n\n"), expected);
}

TEST(RequestDecoder, RequestsBeforeAnErrorStand) {
  const Decoded decoded = decode("PING\r\n*1\r\n$4\r\nPING\r\n*1\r\n+");
  EXPECT_EQ(decoded.requests.size(), 2U);
  EXPECT_EQ(decoded.error, "Protocol error: expected '$', got '+'");
}

TEST(RequestDecoder, LinesAreBounded) {
  const RequestLimits limits{.line_bytes_max = 50};
  EXPECT_EQ(error_of(std::string(51, 'a'), limits), "Protocol error: too big inline request");
  EXPECT_EQ(error_of(std::string(51, 'a') + "\n", limits),
            "Protocol error: too big inline request");
  EXPECT_EQ(error_of("*" + std::string(51, '1'), limits),
            "Protocol error: too big mbulk count string");
  EXPECT_EQ(error_of("*1\r\n$" + std::string(51, '1') + "\r\n", limits),
            "Protocol error: too big bulk count string");
  EXPECT_EQ(decode(std::string(50, 'a') + "\n", limits).requests.size(), 1U);
}

TEST(RequestDecoder, LengthsAreRefusedBeforeTheirBytesCome) {
  const RequestLimits limits{.request_bytes_max = 100, .arguments_max = 3};
  EXPECT_EQ(error_of("*4\r\n", limits),
            "Protocol error: invalid multibulk length: 4 arguments exceed arguments_max=3");
  EXPECT_EQ(error_of("*1\r\n$92\r\n", limits),
            "Protocol error: invalid bulk length: an argument of 92 bytes makes the request exceed "
            "request_bytes_max=100");
  // The bound is one on the whole request: 9 bytes so far, then 60, then 8 more.
  EXPECT_EQ(error_of("*2\r\n$60\r\n" + std::string(60, 'x') + "\r\n$30\r\n", limits),
            "Protocol error: invalid bulk length: an argument of 30 bytes makes the request exceed "
            "request_bytes_max=100");
  EXPECT_EQ(decode("*1\r\n$90\r\n" + std::string(90, 'x') + "\r\n", limits).requests.size(), 1U);
}

TEST(RequestDecoder, AClientWithoutIdentityMaySendLittle) {
  const auto error = [](std::string_view bytes) {
    RequestDecoder decoder;
    Decoded decoded;
    drain(decoder, bytes, decoded);
    return decoded.error;
  };
  EXPECT_EQ(error("*10\r\n"), "");
  EXPECT_EQ(error("*11\r\n"), "Protocol error: unauthenticated multibulk length");
  EXPECT_EQ(error("*1\r\n$16384\r\n"), "");
  EXPECT_EQ(error("*1\r\n$16385\r\n"), "Protocol error: unauthenticated bulk length");
}

TEST(RequestDecoder, IdentityCountsFromTheNextRequestOn) {
  RequestDecoder decoder;
  std::string_view input = "*2\r\n$4\r\nAUTH\r\n$1\r\nx\r\n*1\r\n$20000\r\n";
  const auto first = decoder.next(input);
  ASSERT_TRUE(first && *first);
  EXPECT_EQ((*first)->arguments[0], "AUTH");
  decoder.set_authenticated(true);
  const auto second = decoder.next(input);
  ASSERT_TRUE(second);
  EXPECT_FALSE(*second);
}

TEST(RequestDecoder, AWholeRequestIsAViewOfTheInput) {
  RequestDecoder decoder;
  const std::string bytes = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nPI";
  std::string_view input = bytes;
  const auto request = decoder.next(input);
  ASSERT_TRUE(request && *request);
  EXPECT_EQ((*request)->arguments[1].data(), bytes.data() + 17);
  EXPECT_EQ((*request)->bytes, bytes.substr(0, 20));
  EXPECT_FALSE((*request)->is_inline);
  EXPECT_EQ(decoder.held_bytes(), 0U);
  const auto rest = decoder.next(input);
  ASSERT_TRUE(rest && !*rest);
  EXPECT_EQ(decoder.held_bytes(), 10U);
}

TEST(RequestDecoder, TheBytesOfARequestAreTheRequest) {
  const std::string bytes = "*2\r\n$3\r\nGET\r\n$300\r\n" + std::string(300, 'k') + "\r\n";
  for (std::size_t at = 1; at < bytes.size(); ++at) {
    RequestDecoder decoder;
    std::string_view first = std::string_view(bytes).substr(0, at);
    std::string_view second = std::string_view(bytes).substr(at);
    ASSERT_TRUE(decoder.next(first));
    const auto request = decoder.next(second);
    ASSERT_TRUE(request && *request) << at;
    EXPECT_EQ((*request)->bytes, bytes);
  }
}

TEST(RequestDecoder, InlineRequestsSaySo) {
  RequestDecoder decoder;
  std::string_view input = "GET \"a\"\r\n";
  const auto request = decoder.next(input);
  ASSERT_TRUE(request && *request);
  EXPECT_TRUE((*request)->is_inline);
  EXPECT_EQ((*request)->bytes, "GET \"a\"\r\n");
}

TEST(RequestDecoder, NothingOfABigRequestStaysBehind) {
  RequestDecoder decoder;
  decoder.set_authenticated(true);
  std::string bytes = "*2\r\n$3\r\nSET\r\n$1000000\r\n" + std::string(1'000'000, 'v') + "\r\n";
  std::string_view first = std::string_view(bytes).substr(0, 500'000);
  std::string_view second = std::string_view(bytes).substr(500'000);
  ASSERT_TRUE(decoder.next(first));
  EXPECT_EQ(decoder.held_bytes(), 500'000U);
  const auto request = decoder.next(second);
  ASSERT_TRUE(request && *request);
  EXPECT_EQ((*request)->arguments[1].size(), 1'000'000U);
  std::string_view nothing;
  ASSERT_TRUE(decoder.next(nothing));
  EXPECT_EQ(decoder.held_bytes(), 0U);
}

}  // namespace
}  // namespace meridian::resp
