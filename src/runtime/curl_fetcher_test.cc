// The fetcher against a real server on the loopback interface: what it takes, and where it stops.

#include "runtime/curl_fetcher.h"

#include "base/function_ref.h"
#include "runtime/epoll_loop.h"
#include "runtime/scope.h"
#include "runtime/socket.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace meridian {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr char tls_handshake = '\x16';  // The first byte of a ClientHello (RFC 8446, section 5.1).

// Answers one request with these bytes; silent when there are none.
Async<> answer(EpollLoop& loop, Listener& listener, std::string_view bytes) {
  auto socket = co_await listener.accept();
  if (!socket) co_return;
  SocketStream stream(loop, std::move(*socket));
  std::string request;
  char buffer[1'024];
  while (!request.contains("\r\n\r\n") && !request.starts_with(tls_handshake)) {
    auto size = co_await read_some(stream, buffer, loop.after(seconds(10)));
    if (!size || *size == 0) co_return;
    request.append(buffer, *size);
  }
  (void)co_await write_all(stream, bytes, loop.after(seconds(10)));
  if (bytes.empty()) (void)co_await read_some(stream, buffer, loop.after(seconds(10)));
}

// Fetches from a server that answers with `bytes`, unless another URL is asked for.
Result<FetchResponse> fetch(std::string_view bytes, FetchRequest request) {
  ::setenv("no_proxy", "127.0.0.1", 1);
  EpollLoop loop;
  Scope scope(loop);
  Result<FetchResponse> got = fail(Errc::cancelled);
  scope.spawn([](EpollLoop& on,
                 std::string_view reply,
                 FetchRequest asked,
                 Result<FetchResponse>& out) -> Async<> {
    auto listener = Listener::listen(on, *Endpoint::parse("127.0.0.1:0"));
    Scope server(on);
    server.spawn(answer(on, **listener, reply));
    BlockingPool pool(1);
    CurlFetcher fetcher(pool);
    const std::string place = (*listener)->endpoint().to_string() + "/keys";
    if (asked.url.empty() || asked.url == "https") {
      asked.url = (asked.url.empty() ? "http://" : "https://") + place;
    }
    out = co_await fetcher.get(std::move(asked));
    co_await server.close();
    on.stop();
  }(loop, bytes, std::move(request), got));
  loop.run();
  return got;
}

std::string reply_of(std::string_view headers, std::string_view body) {
  return "HTTP/1.1 200 OK\r\nConnection: close\r\n" + std::string(headers) +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

TEST(CurlFetcher, GetsADocument) {
  const auto got = fetch(reply_of("Content-Type: application/json\r\n"
                                  "Cache-Control: public, max-age=60, immutable\r\n",
                                  "{}"),
                         {.url = {}});
  ASSERT_TRUE(got) << got.error().detail();
  EXPECT_EQ(got->status, 200);
  EXPECT_EQ(got->content_type, "application/json");
  EXPECT_EQ(got->body, "{}");
  EXPECT_EQ(got->max_age, Duration(seconds(60)));
}

TEST(CurlFetcher, ReadsHowLongADocumentIsGood) {
  const auto age = [](std::string_view value) {
    return fetch(reply_of("Cache-Control: " + std::string(value) + "\r\n", "x"), {.url = {}})
        ->max_age;
  };
  EXPECT_EQ(age("no-store"), Duration::zero());
  EXPECT_EQ(age("max-age=x"), std::nullopt);
  EXPECT_EQ(age("private"), std::nullopt);
}

TEST(CurlFetcher, DoesNotFollowRedirects) {
  const auto got =
      fetch("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            {.url = {}});
  ASSERT_TRUE(got) << got.error().detail();
  EXPECT_EQ(got->status, 302);
}

TEST(CurlFetcher, StopsAtTheBodyBound) {
  const std::string body(1'000, 'x');
  EXPECT_TRUE(fetch(reply_of("", body), {.url = {}, .body_size_max = 1'000}));
  const auto got = fetch(reply_of("", body), {.url = {}, .body_size_max = 999});
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code(), Errc::exhausted);
  // A server that does not say how much comes is stopped as well.
  const auto endless = fetch("HTTP/1.1 200 OK\r\n\r\n" + body, {.url = {}, .body_size_max = 999});
  EXPECT_EQ(endless.error().code(), Errc::exhausted);
}

TEST(CurlFetcher, StopsAtTheHeadersBound) {
  const auto with = [](std::size_t count) {
    std::string headers;
    for (std::size_t i = 0; i < count; ++i)
      headers += "X-Header: 0123456789\r\n";
    return fetch(reply_of(headers, "x"), {.url = {}, .headers_size_max = 4'096});
  };
  EXPECT_TRUE(with(10));
  const auto got = with(1'000);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code(), Errc::exhausted);
  EXPECT_TRUE(got.error().detail().contains("the headers have more than 4096 bytes"));
  // Responses that are only the beginning of one count as well.
  std::string begun;
  for (int i = 0; i < 1'000; ++i)
    begun += "HTTP/1.1 103 Early Hints\r\n\r\n";
  EXPECT_EQ(fetch(begun, {.url = {}, .headers_size_max = 4'096}).error().code(), Errc::exhausted);
}

TEST(CurlFetcher, GivesUpOnASilentServer) {
  const auto got = fetch("", {.url = {}, .total_timeout = milliseconds(100)});
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code(), Errc::timeout);
}

TEST(CurlFetcher, SpeaksNoOtherProtocolAndSaysWhenNobodyListens) {
  EXPECT_EQ(fetch("x", {.url = "file:///etc/passwd"}).error().code(), Errc::invalid);
  EXPECT_EQ(fetch("x", {.url = "ftp://127.0.0.1/"}).error().code(), Errc::invalid);
  const auto refused = fetch("x", {.url = "http://127.0.0.1:1/"});
  EXPECT_EQ(refused.error().code(), Errc::unavailable);
  EXPECT_TRUE(refused.error().detail().contains("http://127.0.0.1:1/")) << refused.error().detail();
  // A server that speaks no TLS is not taken for one that does.
  EXPECT_EQ(fetch(reply_of("", "x"), {.url = "https"}).error().code(), Errc::unavailable);
}

}  // namespace
}  // namespace meridian
