// Requests come out the same however their bytes are split, and what two readers might frame
// differently is refused. Responses say exactly how long they are.

#include "wire/http/decoder.h"
#include "wire/http/encoder.h"
#include "wire/http/target.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace meridian::http {
namespace {

struct Outcome {
  std::vector<Request> requests;
  int refusal_status = 0;
  bool in_request = false;
};

// Feeds the bytes in pieces of this size.
Outcome decode(std::string_view bytes, std::size_t piece, RequestLimits limits = {}) {
  RequestDecoder decoder(limits);
  Outcome outcome;
  while (!bytes.empty()) {
    std::string_view part = bytes.substr(0, piece);
    bytes.remove_prefix(part.size());
    while (!part.empty()) {
      const auto taken = decoder.feed(part);
      if (!taken) {
        outcome.refusal_status = decoder.refusal_status();
        return outcome;
      }
      part.remove_prefix(*taken);
      if (decoder.complete()) outcome.requests.push_back(decoder.take());
    }
  }
  outcome.in_request = decoder.in_request();
  return outcome;
}

std::string print(const Outcome& outcome) {
  std::string text;
  for (const Request& request : outcome.requests) {
    text += request.method + ' ' + request.target + (request.keep_alive ? " keep" : " close");
    for (const Header& header : request.headers)
      text += " [" + header.name + "=" + header.value + "]";
    text += " <" + request.body + ">\n";
  }
  if (outcome.refusal_status != 0) text += std::to_string(outcome.refusal_status);
  if (outcome.in_request) text += "...";
  return text;
}

// What comes out, whole and in pieces of every size.
std::string decoded(std::string_view bytes, RequestLimits limits = {}) {
  const std::string whole = print(decode(bytes, bytes.size() + 1, limits));
  for (std::size_t piece = 1; piece <= bytes.size() && piece < 80; ++piece)
    EXPECT_EQ(print(decode(bytes, piece, limits)), whole) << "in pieces of " << piece;
  return whole;
}

std::string get(std::string_view headers) {
  return "GET / HTTP/1.1\r\nHost: a\r\n" + std::string(headers) + "\r\n";
}
std::string post(std::string_view headers, std::string_view body) {
  return "POST / HTTP/1.1\r\nHost: a\r\n" + std::string(headers) + "\r\n" + std::string(body);
}

TEST(HttpDecoder, ReadsPipelinedRequests) {
  EXPECT_EQ(decoded("GET /a?b=c HTTP/1.1\r\nHost: x:80\r\nX-Y:  z \t\r\n\r\n"
                    "POST /t HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc"
                    "GET /c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
            "GET /a?b=c keep [Host=x:80] [X-Y=z] <>\n"
            "POST /t keep [host=x] [content-length=3] <abc>\n"
            "GET /c close [Host=x] [Connection=close] <>\n");
}

TEST(HttpDecoder, ReadsChunkedBodies) {
  EXPECT_EQ(decoded(post("Transfer-Encoding: chunked\r\n",
                         "4\r\nWiki\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n")),
            "POST / keep [Host=a] [Transfer-Encoding=chunked] <Wiki0123456789>\n");
  EXPECT_EQ(decoded(post("Transfer-Encoding: Chunked\r\n", "0\r\n\r\n")),
            "POST / keep [Host=a] [Transfer-Encoding=Chunked] <>\n");
}

TEST(HttpDecoder, TruncatedRequestsAreNotRequests) {
  const std::string whole = post("Content-Length: 4\r\n", "abcd");
  for (std::size_t size = 1; size < whole.size(); ++size)
    EXPECT_EQ(print(decode(whole.substr(0, size), 1'000)), "...") << size;
  const std::string chunked = post("Transfer-Encoding: chunked\r\n", "4\r\nabcd\r\n0\r\n\r\n");
  for (std::size_t size = 1; size < chunked.size(); ++size)
    EXPECT_EQ(print(decode(chunked.substr(0, size), 1'000)), "...") << size;
}

TEST(HttpDecoder, KnowsWhetherTheConnectionGoesOn) {
  const auto keeps = [](std::string_view bytes) {
    const Outcome outcome = decode(bytes, 1'000);
    return outcome.requests.size() == 1 && outcome.requests[0].keep_alive;
  };
  EXPECT_TRUE(keeps(get("")));
  EXPECT_TRUE(keeps(get("Connection: upgrade\r\n")));
  EXPECT_FALSE(keeps(get("Connection: Close\r\n")));
  EXPECT_FALSE(keeps(get("Connection: keep-alive, close\r\n")));
  EXPECT_FALSE(keeps(get("Connection: x\r\nConnection: close\r\n")));
  EXPECT_FALSE(keeps("GET / HTTP/1.0\r\n\r\n"));
  EXPECT_TRUE(keeps("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
}

TEST(HttpDecoder, AmbiguousFramingIsRefused) {
  for (const std::string_view headers :
       {"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: -3\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length: 3 \x0b\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length : 3\r\n",
        " Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "X: a\r\n b\r\n",
        "X: a\r\n\tb\r\n",
        "X\r\n",
        ": x\r\n",
        "X: a\rb\r\n",
        "X: a\r\r\n",
        "X: a\n",
        "X: a\x01\r\n",
        "X(: a\r\n"}) {
    EXPECT_EQ(decoded(post(headers, "abc")), "400") << headers;
  }
  EXPECT_EQ(decoded(post(std::string_view("X: a\0b\r\n", 8), "")), "400");
  for (const std::string_view encoding :
       {"gzip", "chunked, chunked", "gzip, chunked", "xchunked", ""}) {
    EXPECT_EQ(decoded(post("Transfer-Encoding: " + std::string(encoding) + "\r\n", "0\r\n\r\n")),
              "501")
        << encoding;
  }
  EXPECT_EQ(decoded("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "400");
}

TEST(HttpDecoder, MalformedChunksAreRefused) {
  for (const std::string_view body : {"\r\nabc",
                                      "g\r\n",
                                      "3;x=y\r\nabc\r\n0\r\n\r\n",
                                      " 3\r\nabc\r\n",
                                      "3\nabc\r\n",
                                      "3\r\nabcd\r\n",
                                      "3\r\nab\r\n0\r\n\r\n",
                                      "-1\r\n",
                                      "0x3\r\nabc\r\n",
                                      "11111111111111111\r\n",
                                      "00000000000000000000000000000\r\n",
                                      "3\r\nabc\n0\r\n\r\n",
                                      "0\r\n X: y\r\n\r\n",
                                      "0\r\nX\r\n\r\n"}) {
    EXPECT_EQ(decoded(post("Transfer-Encoding: chunked\r\n", body)), "400") << body;
  }
  EXPECT_EQ(decoded(post("Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\n")), "413");
}

TEST(HttpDecoder, RequestLinesThatAreNotPlainAreRefused) {
  for (const std::string_view line : {"GET /",
                                      "GET",
                                      "",
                                      "GET  / HTTP/1.1",
                                      "GET / HTTP/1.1 ",
                                      "GET /a b HTTP/1.1",
                                      " GET / HTTP/1.1",
                                      "G@T / HTTP/1.1",
                                      "GET http://a/ HTTP/1.1",
                                      "GET a HTTP/1.1",
                                      "GET * HTTP/1.1",
                                      "GET /#f HTTP/1.1",
                                      "GET /\t HTTP/1.1",
                                      "GET /\xc3\xa9 HTTP/1.1",
                                      "GET / http/1.1",
                                      "GET / HTP/1.1"}) {
    EXPECT_EQ(decoded(std::string(line) + "\r\nHost: a\r\n\r\n"), "400") << line;
  }
  EXPECT_EQ(decoded("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), "OPTIONS * keep [Host=a] <>\n");
  EXPECT_EQ(decoded("PRI * HTTP/2.0\r\n\r\n"), "505");
  EXPECT_EQ(decoded("GET / HTTP/0.9\r\n\r\n"), "505");
  EXPECT_EQ(decoded("GET / HTTP/1.2\r\n\r\n"), "505");
  EXPECT_EQ(decoded("GET / HTTP/1.1\nHost: a\n\n"), "400");
  EXPECT_EQ(decoded("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), "400");
  EXPECT_EQ(decoded(std::string("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 28)), "400");
}

TEST(HttpDecoder, HostIsThereOnceAndAHost) {
  EXPECT_EQ(decoded("GET / HTTP/1.1\r\n\r\n"), "400");
  EXPECT_EQ(decoded("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"), "400");
  EXPECT_EQ(decoded("GET / HTTP/1.1\r\nHost:\r\n\r\n"), "400");
  for (const std::string_view host : {"a b", "a/b", "user@a", "a,b", "a\\b", "a%20"})
    EXPECT_EQ(decoded("GET / HTTP/1.1\r\nHost: " + std::string(host) + "\r\n\r\n"), "400") << host;
  EXPECT_NE(decoded("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n"), "400");
}

TEST(HttpDecoder, HeadersThatAuthenticateComeOnce) {
  EXPECT_EQ(decoded(get("Authorization: a\r\nauthorization: b\r\n")), "400");
  EXPECT_EQ(decoded(get("Content-Type: a\r\nContent-Type: b\r\n")), "400");
  EXPECT_NE(decoded(get("Cookie: a\r\nCookie: b\r\n")), "400");
}

TEST(HttpDecoder, KeepsItsLimits) {
  const RequestLimits limits{
      .line_size_max = 32, .headers_size_max = 64, .headers_count_max = 3, .body_size_max = 8};
  const auto line_of = [](std::size_t size) {
    return "GET /" + std::string(size - 16, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n";
  };
  EXPECT_NE(decoded(line_of(32), limits), "414");
  EXPECT_EQ(decoded(line_of(33), limits), "414");
  EXPECT_EQ(decoded(std::string(32, 'G'), limits), "414");
  EXPECT_EQ(decoded(std::string(31, 'G'), limits), "...");
  EXPECT_NE(decoded(get("X: " + std::string(48, 'x') + "\r\n"), limits),
            "431");  // 9 + 53 + 2 bytes
  EXPECT_EQ(decoded(get("X: " + std::string(49, 'x') + "\r\n"), limits), "431");
  EXPECT_EQ(decoded(get(std::string(1'000, 'x')), limits), "431");
  EXPECT_NE(decoded(get("A: 1\r\nB: 2\r\n"), limits), "431");
  EXPECT_EQ(decoded(get("A: 1\r\nB: 2\r\nC: 3\r\n"), limits), "431");
  EXPECT_NE(decoded(post("Content-Length: 8\r\n", "12345678"), limits), "413");
  EXPECT_EQ(decoded(post("Content-Length: 9\r\n", "123456789"), limits), "413");
  EXPECT_EQ(decoded(post("Content-Length: 18446744073709551615\r\n", ""), limits), "413");
  EXPECT_NE(decoded(post("Transfer-Encoding: chunked\r\n", "4\r\n1234\r\n4\r\n5678\r\n0\r\n\r\n"),
                    limits),
            "413");
  EXPECT_EQ(decoded(post("Transfer-Encoding: chunked\r\n", "4\r\n1234\r\n5\r\n56789\r\n0\r\n\r\n"),
                    limits),
            "413");
  EXPECT_EQ(
      decoded(post("Transfer-Encoding: chunked\r\n", "0\r\nX: " + std::string(99, 'x')), limits),
      "431");
}

TEST(HttpDecoder, TheCallerMayBoundOneBodyMore) {
  RequestDecoder decoder;
  const std::string bytes = post("Content-Length: 5\r\n", "12345");
  const auto taken = decoder.feed(bytes);
  ASSERT_TRUE(taken);
  ASSERT_TRUE(decoder.head_complete());
  EXPECT_EQ(*taken, bytes.size() - 5);
  EXPECT_FALSE(decoder.complete());
  EXPECT_TRUE(decoder.limit_body(5));
  EXPECT_EQ(decoder.limit_body(4).error().code(), Errc::exhausted);
  EXPECT_EQ(decoder.refusal_status(), 413);
  EXPECT_FALSE(decoder.feed("12345"));
  EXPECT_FALSE(decoder.head_complete());
}

TEST(HttpDecoder, SaysWhenABodyWaitsForAnAnswer) {
  RequestDecoder decoder;
  ASSERT_TRUE(decoder.feed(post("Content-Length: 1\r\nExpect: 100-Continue\r\n", "")));
  EXPECT_TRUE(decoder.request().expects_continue);
  EXPECT_EQ(decoded(get("Expect: 200-ok\r\n")), "417");
}

TEST(HttpEncoder, WritesTheSizeAndTheDate) {
  const WallTime now = std::chrono::sys_days(std::chrono::year(2026) / 11 / 21) +
                       std::chrono::hours(8) + std::chrono::milliseconds(999);
  EXPECT_EQ(encode({.status = 200, .headers = {{"Content-Type", "text/plain"}}, .body = "hello"},
                   {.now = now}),
            "HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 08:00:00 GMT\r\n"
            "Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello");
  EXPECT_TRUE(encode({.body = "hello"}, {.now = now, .head = true}).ends_with("Length: 5\r\n\r\n"));
  EXPECT_TRUE(encode({.status = 404}, {.now = now, .keep_alive = false})
                  .ends_with("Content-Length: 0\r\nConnection: close\r\n\r\n"));
  EXPECT_FALSE(encode({.status = 204}, {.now = now}).contains("Content-Length"));
}

TEST(HttpEncoder, AValueCannotBeginAHeader) {
  const std::string text =
      encode({.headers = {{"Location", std::string("/a\r\nSet-Cookie: x\n\0y", 20)}}}, {.now = {}});
  EXPECT_TRUE(text.contains("Location: /a  Set-Cookie: x  y\r\n")) << text;
}

TEST(HttpTarget, TakesPathAndQueryApart) {
  const auto target = parse_target("/a/b%20c/?x=1&y=a+b%26&z");
  ASSERT_TRUE(target) << target.error().detail();
  EXPECT_EQ(target->segments, (std::vector<std::string>{"a", "b c", ""}));
  EXPECT_EQ(target->path(), "/a/b c/");
  EXPECT_EQ(target->query.find("x"), "1");
  EXPECT_EQ(target->query.find("y"), "a b&");
  EXPECT_EQ(target->query.find("z"), "");
  EXPECT_FALSE(target->query.find("w"));
  EXPECT_EQ(parse_target("/")->path(), "/");
  EXPECT_EQ(parse_target("/?")->path(), "/");
  EXPECT_EQ(parse_target("//a")->segments, (std::vector<std::string>{"", "a"}));
  EXPECT_EQ(parse_target("/a%2bb+c")->path(), "/a+b+c");
}

TEST(HttpTarget, PathsThatLeadElsewhereAreRefused) {
  for (const std::string text : {"",
                                 "a",
                                 "/..",
                                 "/a/../b",
                                 "/.",
                                 "/%2e%2e/a",
                                 "/a%2fb",
                                 "/a%5cb",
                                 "/a\\b",
                                 "/a%00",
                                 "/a%",
                                 "/a%4",
                                 "/a%zz",
                                 "/%ff",
                                 "/%c0%af",
                                 "/a?x=%00",
                                 "/a?x=1&x=2",
                                 "/a?x=1&%78=2"}) {
    EXPECT_FALSE(parse_target(text)) << text;
  }
  std::string deep;
  for (int i = 0; i < 65; ++i)
    deep += "/a";
  EXPECT_EQ(parse_target(deep).error().code(), Errc::exhausted);
}

TEST(HttpForm, KeepsItsBoundAndNames) {
  const auto form = parse_parameters("grant_type=urn%3Aietf&a=&&b=%C3%A9");
  ASSERT_TRUE(form) << form.error().detail();
  EXPECT_EQ(form->items().size(), 3U);
  EXPECT_EQ(form->find("grant_type"), "urn:ietf");
  EXPECT_EQ(form->find("b"), "\u00e9");
  EXPECT_FALSE(parse_parameters("a=1&a=1"));
  std::string many;
  for (std::size_t i = 0; i <= parameters_max; ++i)
    many += "p" + std::to_string(i) + "=1&";
  EXPECT_EQ(parse_parameters(many).error().code(), Errc::exhausted);
}

}  // namespace
}  // namespace meridian::http
