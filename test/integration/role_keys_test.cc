// The passwords of roles in a real PostgreSQL: those who renew them at once come to the same ones,
// and who is refused gets the one that counts.

#include "timeline/postgres/role_keys.h"

#include "integration/engine_node.h"
#include "timeline/postgres/migrations.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace meridian {
namespace {

using std::chrono::milliseconds;

using Managed = std::vector<RoleKeys::Managed>;

class RoleKeysTest : public ::testing::Test {
 public:  // For the fibres.
  void run(FunctionRef<Async<>()> body) {
    meridian::run([&](EpollLoop& loop) -> Async<> {
      loop_ = &loop;
      Node node;
      const auto opened = co_await node.open(loop, temporary_.data());
      EXPECT_TRUE(opened) << opened.error().detail();
      if (opened) {
        owner_ = login_of(node);
        auto session = co_await PostgresSession::connect(loop, owner_, deadline());
        EXPECT_TRUE(session);
        EXPECT_TRUE(co_await migrate(**session, deadline()));
        co_await (*session)->close();
        co_await body();
      }
      co_await node.close();
    });
  }

  EpollLoop& loop() { return *loop_; }
  Deadline deadline() { return loop_->after(patience); }

  Async<std::string> sql(std::string text) {
    auto session = co_await PostgresSession::connect(loop(), owner_, deadline());
    EXPECT_TRUE(session);
    auto rows = co_await (*session)->query(text, {}, deadline());
    EXPECT_TRUE(rows) << rows.error().detail();
    std::string value = rows && !rows->empty() ? std::string(rows->text(0, 0)) : std::string();
    co_await (*session)->close();
    co_return value;
  }

  // Empty: it may log in.
  Async<std::string> log_in(PostgresOptions options) {
    auto session = co_await PostgresSession::connect(loop(), std::move(options), deadline());
    if (!session) co_return session.error().detail();
    co_await (*session)->close();
    co_return std::string();
  }

  PostgresOptions as(std::string role, Secret password) {
    PostgresOptions options = owner_;
    options.user = std::move(role);
    options.password = std::move(password);
    return options;
  }
  static std::string reveal(const Result<Secret>& password) {
    EXPECT_TRUE(password) << password.error().detail();
    return password ? std::string(password->reveal()) : std::string();
  }

  TemporaryDataFolder temporary_;
  EpollLoop* loop_ = nullptr;
  PostgresOptions owner_;
  Metrics metrics_;
};

constexpr std::string_view forget = "DELETE FROM meridian.secrets WHERE name = 'role_keys'";

TEST_F(RoleKeysTest, WhoRenewsAtOnceComesToTheSameAndMakesNoRoleTwice) {
  run([&]() -> Async<> {
    constexpr int nodes_count = 6;
    std::vector<std::unique_ptr<RoleKeys>> nodes;
    for (int i = 0; i < nodes_count; ++i)
      nodes.push_back(std::make_unique<RoleKeys>(loop(), metrics_));
    for (int round = 0; round < 5; ++round) {
      const std::string role = "r" + std::to_string(round);
      Scope scope(loop());
      for (const auto& node : nodes) {
        scope.spawn([](RoleKeysTest& test, RoleKeys& keys, std::string named) -> Async<> {
          Managed roles{{.role = named, .create_missing = true}, {"shared", true}};
          auto done = co_await keys.renew(test.owner_, std::move(roles), test.deadline());
          EXPECT_TRUE(done) << done.error().detail();
        }(*this, *node, role));
      }
      // In the middle of it.
      co_await sql(std::string(forget));
      co_await scope.join();
      // Those who renewed before it was forgotten are refused, and come to the others' by one more.
      for (const auto& node : nodes)
        EXPECT_TRUE(co_await node->renew(owner_, {{role, false}, {"shared", false}}, deadline()));
      for (const std::string& each : {role, std::string("shared")}) {
        const std::string password = reveal(nodes.front()->password(each));
        EXPECT_FALSE(password.empty());
        for (const auto& node : nodes)
          EXPECT_EQ(reveal(node->password(each)), password);
        EXPECT_EQ(co_await log_in(as(each, Secret(password))), "");
      }
      EXPECT_NE(reveal(nodes.front()->password(role)), reveal(nodes.front()->password("shared")));
    }
  });
}

TEST_F(RoleKeysTest, ALoginThatIsRefusedGetsThePasswordThatCounts) {
  run([&]() -> Async<> {
    RoleKeys keys(loop(), metrics_);
    const Managed roles{{.role = "r", .create_missing = true}};
    EXPECT_TRUE(co_await keys.renew(owner_, roles, deadline()));
    const Secret first(reveal(keys.password("r")));
    EXPECT_EQ(co_await log_in(as("r", first)), "");

    // Whoever comes with another one than that of now needs no renewal.
    EXPECT_EQ(reveal(co_await keys.password_after("r", Secret("before"), deadline())),
              first.reveal());
    EXPECT_EQ((co_await keys.wanted(loop().after(milliseconds(20)))), Wake::timeout);

    // All others wait for one and the same.
    co_await sql("ALTER ROLE r PASSWORD 'set-by-hand'");
    int renewals = 0;
    Scope upkeep(loop());
    upkeep.spawn([](RoleKeysTest& test, RoleKeys& kept, Managed managed, int& count) -> Async<> {
      while (co_await kept.wanted(Deadline::never()) == Wake::ready) {
        ++count;
        EXPECT_TRUE(co_await kept.renew(test.owner_, managed, test.deadline()));
        if (co_await test.loop().sleep(milliseconds(50)) != Wake::ready) co_return;
      }
    }(*this, keys, roles, renewals));
    Scope logins(loop());
    for (int i = 0; i < 10; ++i) {
      logins.spawn([](RoleKeysTest& test, RoleKeys& kept, Secret password) -> Async<> {
        PostgresOptions options = test.as("r", std::move(password));
        options.password_after = [&kept](Secret refused, Deadline until) {
          return kept.password_after("r", std::move(refused), until);
        };
        EXPECT_EQ(co_await test.log_in(std::move(options)), "");
      }(*this, keys, first));
    }
    co_await logins.join();
    EXPECT_GE(renewals, 1);
    EXPECT_LT(renewals, 10);

    // It is asked for once: a role that is locked stays so, and the server hears of it twice.
    co_await sql("ALTER ROLE r VALID UNTIL '2001-01-01'");
    int asked = 0;
    PostgresOptions locked = as("r", first);
    locked.password_after = [&](Secret refused, Deadline until) {
      ++asked;
      return keys.password_after("r", std::move(refused), until);
    };
    const std::string refusal = co_await log_in(std::move(locked));
    EXPECT_TRUE(refusal.ends_with("password authentication failed for user \"r\" [28P01]"))
        << refusal;
    EXPECT_FALSE(refusal.contains(first.reveal()));
    EXPECT_EQ(asked, 1);
    co_await upkeep.close();
  });
}

TEST_F(RoleKeysTest, AWaitEndsWithARenewalThatBeganAfterIt) {
  run([&]() -> Async<> {
    RoleKeys keys(loop(), metrics_);
    RoleKeys others(loop(), metrics_);
    const Managed roles{{.role = "r", .create_missing = true}};
    EXPECT_TRUE(co_await keys.renew(owner_, roles, deadline()));
    const std::string first = reveal(keys.password("r"));
    Scope scope(loop());
    std::optional<Result<Secret>> answer;
    const auto wait = [&] {
      answer.reset();
      scope.spawn([](RoleKeys& kept, std::string refused, Deadline until, auto& to) -> Async<> {
        to = co_await kept.password_after("r", Secret(std::move(refused)), until);
      }(keys, first, deadline(), answer));
    };
    std::optional<Result<void>> renewed;
    const auto renew = [&](Managed managed) {
      renewed.reset();
      scope.spawn([](RoleKeysTest& test, RoleKeys& kept, Managed all, auto& to) -> Async<> {
        to = co_await kept.renew(test.owner_, std::move(all), test.deadline());
      }(*this, keys, std::move(managed), renewed));
    };

    // One that is under way may have read what was before, and brings nothing new.
    renew(roles);
    wait();
    EXPECT_TRUE(co_await becomes_true(loop(), [&] { return renewed.has_value(); }, patience));
    (void)co_await loop().sleep(milliseconds(20));
    EXPECT_FALSE(answer);
    EXPECT_EQ(co_await keys.wanted(deadline()), Wake::ready);
    renew(roles);
    EXPECT_TRUE(co_await becomes_true(loop(), [&] { return answer.has_value(); }, patience));
    EXPECT_EQ(reveal(*answer), first);

    // Unless it brings another one.
    co_await sql(std::string(forget));
    EXPECT_TRUE(co_await others.renew(owner_, roles, deadline()));
    renew(roles);
    wait();
    EXPECT_TRUE(co_await becomes_true(loop(), [&] { return answer.has_value(); }, patience));
    EXPECT_NE(reveal(*answer), first);
    EXPECT_EQ(reveal(*answer), reveal(others.password("r")));

    // Nobody waits longer than the deadline, nor for what is wrong with another role.
    const Secret now(reveal(keys.password("r")));
    const auto late = co_await keys.password_after("r", now, loop().after(milliseconds(50)));
    EXPECT_EQ(late.error().code(), Errc::timeout);
    EXPECT_EQ((co_await keys.wanted(loop().after(milliseconds(20)))), Wake::timeout);
    answer.reset();
    std::optional<Result<Secret>> missing;
    scope.spawn([](RoleKeys& kept, Secret refused, Deadline until, auto& a, auto& b) -> Async<> {
      a = co_await kept.password_after("r", refused, until);
      b = co_await kept.password_after("nobody", Secret(), until);
    }(keys, now, deadline(), answer, missing));
    (void)co_await loop().sleep(milliseconds(1));
    renew({{.role = "nobody"}, {.role = "r"}});
    EXPECT_TRUE(co_await becomes_true(loop(), [&] { return answer.has_value(); }, patience));
    EXPECT_EQ(reveal(*answer), now.reveal());
    EXPECT_TRUE(co_await becomes_true(loop(), [&] { return renewed.has_value(); }, patience));
    EXPECT_EQ(renewed->error().code(), Errc::not_found);
    EXPECT_EQ(co_await keys.wanted(deadline()), Wake::ready);
    renew({{.role = "nobody"}, {.role = "r"}});
    EXPECT_TRUE(co_await becomes_true(loop(), [&] { return missing.has_value(); }, patience));
    EXPECT_EQ(missing->error().code(), Errc::not_found);
    EXPECT_TRUE(missing->error().detail().contains("CREATE ROLE \"nobody\""));
    co_await scope.join();
  });
}

TEST_F(RoleKeysTest, WhoeverChangesARoleMeanwhileIsWaitedForAndOvertaken) {
  run([&]() -> Async<> {
    RoleKeys keys(loop(), metrics_);
    EXPECT_TRUE(co_await keys.renew(owner_, {{"r", true}}, deadline()));
    auto session = co_await PostgresSession::connect(loop(), owner_, deadline());
    EXPECT_TRUE(session);
    EXPECT_TRUE(co_await (*session)->query("BEGIN", {}, deadline()));
    EXPECT_TRUE(co_await (*session)->query("ALTER ROLE r PASSWORD 'by-hand'", {}, deadline()));
    Scope scope(loop());
    std::optional<Result<void>> renewed;
    scope.spawn([](RoleKeysTest& test, RoleKeys& kept, auto& to) -> Async<> {
      to = co_await kept.renew(test.owner_, {{"r"}}, test.deadline());
    }(*this, keys, renewed));
    const Deadline last = deadline();
    while (!last.passed(loop().now()) &&
           co_await sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") ==
               "0") {
    }
    EXPECT_FALSE(renewed);
    EXPECT_TRUE(co_await (*session)->query("COMMIT", {}, deadline()));
    co_await (*session)->close();
    co_await scope.join();
    EXPECT_TRUE(*renewed) << renewed->error().detail();
    EXPECT_EQ(co_await log_in(as("r", *keys.password("r"))), "");
  });
}

TEST_F(RoleKeysTest, WhatCannotBeRenewedIsSaid) {
  run([&]() -> Async<> {
    RoleKeys keys(loop(), metrics_);
    EXPECT_TRUE(co_await keys.renew(owner_, {{"r", true}}, deadline()));
    co_await sql("CREATE ROLE lowly LOGIN PASSWORD 'not-guessed'");
    const auto denied =
        co_await keys.renew(as("lowly", Secret("not-guessed")), {{"r"}}, deadline());
    EXPECT_EQ(denied.error().code(), Errc::denied) << denied.error().detail();
    const auto super = co_await keys.renew(owner_, {{"meridian"}}, deadline());
    EXPECT_EQ(super.error().code(), Errc::denied) << super.error().detail();
    // And passwords stay what they were.
    EXPECT_EQ(co_await log_in(as("r", *keys.password("r"))), "");
    EXPECT_FALSE(keys.password("meridian"));
    // The server's language does not matter: the code says what it is.
    const std::string refusal = co_await log_in(as("r", Secret("wrong")));
    EXPECT_TRUE(refusal.ends_with(" [28P01]")) << refusal;
    EXPECT_FALSE(refusal.contains("LOCATION")) << refusal;
    PostgresOptions elsewhere = owner_;
    elsewhere.database = "nowhere";
    EXPECT_TRUE((co_await log_in(std::move(elsewhere))).ends_with(" [3D000]"));
  });
}

}  // namespace
}  // namespace meridian
