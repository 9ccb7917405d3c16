// The http door in virtual time: what it answers, when it refuses, how long it waits, how it
// leaves.

#include "doors/http/door.h"

#include "runtime/sim/sim_loop.h"
#include "runtime/sim/sim_stream.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace meridian {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr HttpDoorLimits limits{.request_timeout = seconds(10),
                                .idle_timeout = seconds(60),
                                .requests = {.line_size_max = 200,
                                             .headers_size_max = 1'000,
                                             .headers_count_max = 20,
                                             .body_size_max = 500}};

// Answers with what was asked for, after `delay`.
class Echo final : public HttpHandler {
 public:
  explicit Echo(Loop& loop) : loop_(loop) {}

  Async<http::Response> handle(http::Request request,
                               HttpCaller caller,
                               Deadline deadline) override {
    callers.push_back(std::move(caller));
    deadlines.push_back(deadline);
    asked.push_back(request.method + " " + request.target + " " + request.body);
    if (delay != Duration::zero()) (void)co_await loop_.sleep(delay);
    co_return http::Response{.status = 200,
                             .headers = {{"Content-Type", "text/plain"}},
                             .body = body.empty() ? asked.back() : body};
  }

  Duration delay{};
  std::string body;
  std::vector<std::string> asked;
  std::vector<HttpCaller> callers;
  std::vector<Deadline> deadlines;

 private:
  Loop& loop_;
};

class HttpDoorTest : public ::testing::TestWithParam<std::size_t> {
 protected:
  ~HttpDoorTest() override {
    client_.reset();
    pass(seconds(120));
    EXPECT_TRUE(left_ || !visit_);
  }

  // Opens a connection, whose pieces are as small as the test's parameter says.
  void connect(std::size_t buffered_max = 64 * 1024) {
    auto [ours, theirs] =
        SimStream::make_pair(loop_, {.piece_size_max = GetParam(), .buffered_max = buffered_max});
    client_ = std::move(ours);
    visit_.emplace(
        loop_, std::move(theirs), VisitId(7), RequestId::make(loop_.wall_now(), loop_.random()));
    scope_.spawn([](HttpDoorTest& test) -> Async<> {
      test.visit_->fibres().spawn(test.door_->serve(*test.visit_));
      co_await test.visit_->fibres().join();
      test.visit_->stream().close();
      test.left_ = test.loop_.now();
    }(*this));
  }

  void pass(Duration time) { (void)loop_.run(loop_.now().time_since_epoch() + time); }

  void send(std::string_view bytes) {
    const Transfer written = client_->try_write(bytes);
    ASSERT_EQ(written.size, bytes.size());
    pass(milliseconds(1));
  }

  // All that came since the last time.
  std::string receive() {
    std::string all;
    char buffer[1'024];
    for (;;) {
      const Transfer transfer = client_->try_read(buffer);
      if (transfer.size == 0) return all;
      all.append(buffer, transfer.size);
      pass(milliseconds(1));
    }
  }

  std::string ask(std::string_view bytes) {
    if (!client_) connect();
    send(bytes);
    return receive();
  }

  static std::string get(std::string_view path, std::string_view headers = {}) {
    return "GET " + std::string(path) + " HTTP/1.1\r\nHost: here\r\n" + std::string(headers) +
           "\r\n";
  }
  static std::string post(std::string_view body) {
    return "POST /p HTTP/1.1\r\nHost: here\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + std::string(body);
  }

  SimLoop loop_{1};
  Metrics metrics_;
  Echo echo_{loop_};
  std::unique_ptr<Door> door_ = make_http_door(
      {.loop = loop_, .handler = echo_, .tls = nullptr, .metrics = metrics_, .limits = limits});
  Scope scope_{loop_};
  std::optional<Visit> visit_;
  std::unique_ptr<SimStream> client_;
  std::optional<Time> left_;
};

// Whole writes, single bytes, and a few at a time.
INSTANTIATE_TEST_SUITE_P(Pieces, HttpDoorTest, ::testing::Values(0U, 1U, 7U));

TEST_P(HttpDoorTest, RequestsAreAnsweredInOrderOnOneConnection) {
  const std::string said = ask(get("/a") + post("body") + get("/b?c=d"));
  EXPECT_EQ(echo_.asked, (std::vector<std::string>{"GET /a ", "POST /p body", "GET /b?c=d "}));
  const std::size_t first = said.find("\r\n\r\nGET /a ");
  const std::size_t second = said.find("\r\n\r\nPOST /p body", first);
  EXPECT_NE(said.find("\r\n\r\nGET /b?c=d ", second), said.npos) << said;
  EXPECT_TRUE(said.starts_with("HTTP/1.1 200 OK\r\n")) << said;
  EXPECT_TRUE(said.contains("Content-Length: 7\r\n")) << said;
  EXPECT_FALSE(left_);
  EXPECT_TRUE(ask(get("/later")).ends_with("GET /later "));
  EXPECT_EQ(visit_->counters.commands, 4U);
  EXPECT_GT(visit_->counters.bytes_out, visit_->counters.bytes_in);
  EXPECT_TRUE(metrics_.to_prometheus().contains("meridian_http_requests_total 4"));
}

TEST_P(HttpDoorTest, HeadSaysHowLongTheBodyWouldBe) {
  const std::string said = ask("HEAD /a HTTP/1.1\r\nHost: here\r\n\r\n" + get("/b"));
  EXPECT_TRUE(said.contains("Content-Length: 8\r\n")) << said;
  EXPECT_FALSE(said.contains("HEAD /a")) << said;
  EXPECT_TRUE(said.ends_with("GET /b ")) << said;
}

TEST_P(HttpDoorTest, TheConnectionEndsWhereTheClientWantsIt) {
  const std::string said = ask(get("/a", "Connection: close\r\n") + get("/b"));
  EXPECT_TRUE(said.contains("Connection: close\r\n")) << said;
  EXPECT_EQ(echo_.asked.size(), 1U);
  EXPECT_TRUE(left_);
}

TEST_P(HttpDoorTest, OldClientsGetOneAnswer) {
  EXPECT_TRUE(ask("GET /a HTTP/1.0\r\n\r\n").contains("GET /a "));
  EXPECT_TRUE(left_);
}

TEST_P(HttpDoorTest, WhatIsNotARequestIsRefusedAndEndsTheConnection) {
  const auto refused = [this](std::string_view bytes, std::string_view status) {
    client_.reset();
    pass(seconds(1));
    left_.reset();
    connect();
    const std::size_t asked = echo_.asked.size();
    const std::string said = ask(bytes);
    EXPECT_TRUE(said.starts_with(status)) << bytes << said;
    EXPECT_TRUE(said.contains("Connection: close\r\n")) << said;
    EXPECT_FALSE(said.ends_with("\r\n\r\n")) << "no reason: " << said;
    EXPECT_EQ(echo_.asked.size(), asked);
    EXPECT_TRUE(left_) << bytes;
    EXPECT_NE(visit_->end_reason(), "");
  };
  refused("what is this\r\n\r\n", "HTTP/1.1 400 ");
  refused("GET /a HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ");  // Without a host.
  refused("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
          "HTTP/1.1 400 ");
  refused("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 501\r\n\r\n", "HTTP/1.1 413 ");
  refused(get("/" + std::string(300, 'a')), "HTTP/1.1 414 ");
  refused(get("/a", "X: " + std::string(1'100, 'x') + "\r\n"), "HTTP/1.1 431 ");
  refused("GET /a HTTP/2.0\r\nHost: h\r\n\r\n", "HTTP/1.1 505 ");
}

TEST_P(HttpDoorTest, ABodyIsAskedForWhereTheClientWaitsForThat) {
  const std::string head =
      "POST /p HTTP/1.1\r\nHost: here\r\nExpect: 100-continue\r\nContent-Length: ";
  EXPECT_EQ(ask(head + "4\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_TRUE(echo_.asked.empty());
  EXPECT_TRUE(ask("body").ends_with("POST /p body"));
  // One that is too large is refused before it is sent.
  EXPECT_TRUE(ask(head + "501\r\n\r\n").starts_with("HTTP/1.1 413 "));
}

TEST_P(HttpDoorTest, ARequestMustComeInWholeInItsTime) {
  connect();
  pass(seconds(59));  // Between requests there is time.
  send("GET /slow HTTP/1.1\r\n");
  const Time begun = loop_.now();
  // Dripping does not help.
  for (int i = 0; i < 9; ++i) {
    pass(seconds(1));
    send("X: y\r\n");
  }
  EXPECT_EQ(receive(), "");
  EXPECT_FALSE(left_);
  pass(seconds(2));
  EXPECT_TRUE(receive().starts_with("HTTP/1.1 408 "));
  ASSERT_TRUE(left_);
  EXPECT_LE(*left_ - begun, limits.request_timeout + milliseconds(50));
  EXPECT_TRUE(echo_.asked.empty());
}

TEST_P(HttpDoorTest, AnIdleClientIsLeftWithoutAWord) {
  EXPECT_NE(ask(get("/a")), "");
  pass(seconds(59));
  EXPECT_FALSE(left_);
  pass(seconds(2));
  EXPECT_TRUE(left_);
  EXPECT_EQ(receive(), "");
}

TEST_P(HttpDoorTest, AnAnswerThatNobodyReadsIsGivenUp) {
  echo_.body = std::string(10'000, 'x');
  connect(1'000);
  send(get("/a"));
  pass(seconds(9));
  EXPECT_FALSE(left_);
  pass(seconds(2));
  EXPECT_TRUE(left_);
}

TEST_P(HttpDoorTest, AClientThatLeavesDuringItsRequestIsNoticed) {
  connect();
  send("POST /p HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\n\r\nbo");
  client_->shutdown_write();
  pass(milliseconds(10));
  EXPECT_TRUE(left_);
  EXPECT_TRUE(echo_.asked.empty());
}

TEST_P(HttpDoorTest, TheCallerIsKnown) {
  (void)ask(get("/a") +
            get("/b", "traceparent: 00-0192f3a4b5c67d8e9fa0b1c2d3e4f506-b7ad6b7169203331-01\r\n") +
            get("/c", "traceparent: nonsense\r\n"));
  ASSERT_EQ(echo_.callers.size(), 3U);
  EXPECT_EQ(echo_.callers[0].visit, VisitId(7));
  EXPECT_EQ(echo_.callers[0].request, visit_->request());
  EXPECT_FALSE(echo_.callers[0].encrypted);
  EXPECT_EQ(echo_.callers[1].request.to_string(), "0192f3a4-b5c6-7d8e-9fa0-b1c2d3e4f506");
  EXPECT_EQ(echo_.callers[2].request, visit_->request());
  // So long has the handler, too.
  EXPECT_FALSE(echo_.deadlines[0].passed(loop_.now() + limits.request_timeout - seconds(1)));
  EXPECT_TRUE(echo_.deadlines[0].passed(loop_.now() + limits.request_timeout));
}

TEST_P(HttpDoorTest, AStoppingNodeLeavesIdleClientsAtOnce) {
  EXPECT_NE(ask(get("/a")), "");
  visit_->drain();
  pass(milliseconds(1));
  EXPECT_TRUE(left_);
  EXPECT_EQ(visit_->end_reason(), "the node is stopping");
}

TEST_P(HttpDoorTest, AStoppingNodeAnswersWhoHasAsked) {
  echo_.delay = seconds(2);
  connect();
  send(get("/a"));
  pass(seconds(1));
  visit_->drain();
  pass(milliseconds(10));
  EXPECT_FALSE(left_);
  pass(seconds(2));
  EXPECT_TRUE(receive().ends_with("GET /a "));
  EXPECT_TRUE(left_);
}

TEST_P(HttpDoorTest, AStoppingNodeAnswersWhoHasBegunToAsk) {
  connect();
  send("GET /a HTTP/1.1\r\nHost:");
  visit_->drain();
  pass(milliseconds(10));
  EXPECT_FALSE(left_);
  const std::string said = ask(" here\r\n\r\n");
  EXPECT_TRUE(said.contains("Connection: close\r\n")) << said;
  EXPECT_TRUE(said.ends_with("GET /a ")) << said;
  EXPECT_TRUE(left_);
}

TEST_P(HttpDoorTest, ANodeThatHasStoppedEndsWhatIsLeft) {
  echo_.delay = seconds(20);
  connect();
  send(get("/a"));
  visit_->drain();
  visit_->end("the node is stopping");
  pass(milliseconds(1));
  EXPECT_TRUE(left_);
}

}  // namespace
}  // namespace meridian
