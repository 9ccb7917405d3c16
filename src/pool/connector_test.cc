// A login that the server refuses for its password asks for another one, once, and is tried once
// more. That a good password then lets in, and that the right one is asked for, is shown by
// test/integration/role_keys_test.cc and test/integration/node/passwords_test.py.

#include "pool/connector.h"

#include "base/function_ref.h"
#include "runtime/scope.h"
#include "runtime/socket.h"
#include "wire/postgres/backend_writer.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

namespace meridian {
namespace {

constexpr Duration patience = std::chrono::seconds(60);

// Refuses each login as soon as it has begun.
class RefusingServer {
 public:
  RefusingServer(EpollLoop& loop, std::string sqlstate)
      : loop_(loop), sqlstate_(std::move(sqlstate)), scope_(loop) {
    auto listener = Listener::listen(loop, {.host = "127.0.0.1", .port = 0, .path = {}});
    EXPECT_TRUE(listener) << listener.error().detail();
    listener_ = *std::move(listener);
    scope_.spawn(serve());
  }

  ServerOptions options() const {
    return {.endpoint = listener_->endpoint(), .tls = nullptr, .tls_name = {}};
  }
  int logins() const { return logins_; }
  Async<> close() { co_await scope_.close(); }

 private:
  Async<> serve() {
    for (;;) {
      auto socket = co_await listener_->accept();
      if (!socket) co_return;
      ++logins_;
      SocketStream stream(loop_, *std::move(socket));
      std::array<char, 1'000> startup;
      EXPECT_TRUE(co_await read_some(stream, startup, loop_.after(patience)));
      std::string answer;
      postgres::append_error(answer,
                             {.severity = postgres::Severity::fatal,
                              .sqlstate = sqlstate_,
                              .message = "in the words of the server"});
      EXPECT_TRUE(co_await write_all(stream, answer, loop_.after(patience)));
    }
  }

  EpollLoop& loop_;
  const std::string sqlstate_;
  std::unique_ptr<Listener> listener_;
  int logins_ = 0;
  Scope scope_;
};

class ConnectorTest : public ::testing::Test {
 protected:
  void refuse(std::string sqlstate) {
    EpollLoop loop;
    Scope scope(loop);
    scope.spawn([](ConnectorTest& test, EpollLoop& on, std::string code) -> Async<> {
      RefusingServer server(on, std::move(code));
      Connector connector(server.options(), test.passwords(), test.blocking_);
      auto opened = co_await connector.open(on, "r", "d", {}, on.after(patience));
      EXPECT_FALSE(opened);
      if (!opened) test.refusal_ = opened.error();
      test.logins_ = server.logins();
      co_await server.close();
      on.stop();
    }(*this, loop, std::move(sqlstate)));
    loop.run();
    EXPECT_FALSE(refusal_.detail().contains("first-of-all"));
    EXPECT_FALSE(refusal_.detail().contains("second-of-all"));
  }

  Connector::Passwords passwords() {
    return {.now = [this](std::string_view role) -> Result<Secret> {
              EXPECT_EQ(role, "r");
              if (none_) return fail(Errc::not_found, "there is none");
              return Secret("first-of-all");
            },
            .after = [this](std::string role, Secret refused, Deadline) -> Async<Result<Secret>> {
              EXPECT_EQ(role, "r");
              asked_.emplace_back(refused.reveal());
              if (unrenewed_) co_return fail(Errc::unavailable, "it could not be set");
              co_return Secret("second-of-all");
            }};
  }

  BlockingPool blocking_{1};
  bool none_ = false;
  bool unrenewed_ = false;
  std::vector<std::string> asked_;  // What had been refused.
  int logins_ = 0;
  Error refusal_{Errc::invalid, ""};
};

TEST_F(ConnectorTest, ARefusedPasswordIsAskedForAnewOnceAndTriedOnceMore) {
  refuse("28P01");
  EXPECT_EQ(logins_, 2);
  EXPECT_EQ(asked_, std::vector<std::string>{"first-of-all"});
  // Not the client's doing.
  EXPECT_EQ(refusal_.code(), Errc::unavailable);
  EXPECT_TRUE(refusal_.detail().contains("in the words of the server [28P01]"));
}

TEST_F(ConnectorTest, WhatCannotBeRenewedIsNotTriedAgain) {
  unrenewed_ = true;
  refuse("28P01");
  EXPECT_EQ(logins_, 1);
  EXPECT_EQ(asked_.size(), 1U);
  EXPECT_TRUE(refusal_.detail().contains("[28P01]")) << refusal_.detail();
  EXPECT_TRUE(refusal_.detail().contains("it could not be set")) << refusal_.detail();
}

TEST_F(ConnectorTest, ARoleWithoutAPasswordWaitsForOne) {
  none_ = true;
  refuse("28000");
  EXPECT_EQ(logins_, 1);
  EXPECT_EQ(asked_, std::vector<std::string>{""});
}

TEST_F(ConnectorTest, AnotherRefusalIsFinal) {
  for (const std::string_view sqlstate : {"28000", "53300", "3D000", "57P03"}) {
    refuse(std::string(sqlstate));
    EXPECT_EQ(logins_, 1) << sqlstate;
    EXPECT_TRUE(asked_.empty()) << sqlstate;
  }
}

}  // namespace
}  // namespace meridian
