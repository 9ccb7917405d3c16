#pragma once
// A gate and all it needs, in virtual time: one issuer "corp" with its keys on a simulated network,
// a log that remembers, and no roles until the test sets them.

#include "base/assert.h"
#include "base/metrics.h"
#include "gate/gate.h"
#include "runtime/sim/sim_loop.h"
#include "test/identity/issuer.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace meridian::testing {

// Remembers each record as a line; fails where it is told to.
class RecordingLog final : public AdmissionLog {
 public:
  explicit RecordingLog(Loop& loop) : loop_(loop) {}

  Async<Result<void>> on_attempt(LoginAttempt attempt) override {
    co_return co_await record("attempt", std::string(to_string(attempt.door)));
  }
  Async<Result<void>> on_admitted(LoginAttempt /*attempt*/, PrincipalPointer principal) override {
    co_return co_await record(
        "admitted",
        principal->role_name + ", " + principal->subject + ", by " + principal->binding);
  }
  Async<Result<void>> on_refused(LoginAttempt /*attempt*/, Refusal refusal) override {
    co_return co_await record("refused",
                              std::string(to_string(refusal.error.code())) + ": " +
                                  refusal.error.detail() + " [" + refusal.subject + "]");
  }
  Async<Result<void>> on_exchanged(LoginAttempt /*attempt*/, Exchange exchange) override {
    co_return co_await record("exchanged",
                              exchange.issuer + " " + exchange.subject + " -> " +
                                  exchange.new_subject + " for " + exchange.audience + ", by " +
                                  exchange.binding);
  }

  std::vector<std::string> lines;
  std::string failing;  // The kind of record that cannot be made: "attempt".
  Duration delay{};     // Of each record, as a group commit would.

 private:
  Async<Result<void>> record(std::string kind, std::string text) {
    if (delay != Duration::zero()) (void)co_await loop_.sleep(delay);
    if (kind == failing) co_return fail(Errc::unavailable, "the disk is full");
    lines.push_back(kind + " " + text);
    co_return Result<void>();
  }

  Loop& loop_;
};

class GateWorld {
 public:
  explicit GateWorld(std::uint64_t seed, const GateConfig& config = {})
      : loop(seed),
        issuers(make_issuers(config)),
        revocations(config.revocations_max, config.clock_skew, metrics),
        limiter(config.login),
        gate(loop,
             parts(),
             {.clock_skew = config.clock_skew, .tokens_cached_max = config.tokens_cached_max}) {
    issuer.serve(fetcher);
    issuers->start();
  }
  ~GateWorld() {
    Scope last(loop);
    last.spawn(issuers->close());
    MERIDIAN_ASSERT(loop.run(loop.now().time_since_epoch() + std::chrono::hours(24)));
  }

  GateParts parts() {
    return {.issuers = *issuers,
            .policy = policy,
            .revocations = revocations.published(),
            .limiter = limiter,
            .log = log,
            .metrics = metrics};
  }

  // Roles may bind the issuers "corp" and "meridian".
  void set_roles(std::vector<RoleConfig> roles) {
    auto compiled = Policy::compile(roles, issuer_names, counts);
    MERIDIAN_ASSERT(compiled);
    policy.publish(*std::move(compiled));
  }

  // Lets this much time pass.
  void pass(Duration time) { (void)loop.run(loop.now().time_since_epoch() + time); }

  struct Login {
    std::string token;
    std::string wanted_role = {};
    std::string database = "shop";
    DoorName door = DoorName::postgres;
    Peer peer = {.address = "10.0.0.7", .port = 1};
    Duration within = std::chrono::seconds(5);
  };

  // Starts a login and lets it run to its end, at most the time that it has.
  Result<Admission> login(Login asked) {
    std::optional<Result<Admission>> outcome;
    scope.spawn(
        [](GateWorld& world, Login& login, std::optional<Result<Admission>>& out) -> Async<> {
          out.emplace(co_await world.gate.admit({.request = RequestId(),
                                                 .visit = VisitId(1),
                                                 .door = login.door,
                                                 .peer = &login.peer,
                                                 .wanted_role = login.wanted_role,
                                                 .database = login.database},
                                                login.token,
                                                world.loop.after(login.within)));
        }(*this, asked, outcome));
    for (int i = 0; i < 1'000 && !outcome; ++i)
      pass(std::chrono::milliseconds(10));
    MERIDIAN_ASSERT(outcome);
    return *std::move(outcome);
  }
  std::string refusal(Login asked) {
    const auto admission = login(std::move(asked));
    if (admission) return "";
    return std::string(to_string(admission.error().code())) + ": " + admission.error().detail();
  }

  const std::vector<std::string> issuer_names{"corp", "meridian"};
  SimLoop loop;
  Metrics metrics;
  SimFetcher fetcher{loop};
  TestIssuer issuer;
  std::unique_ptr<Issuers> issuers;
  VisitCounts counts{metrics};
  Published<Policy> policy{std::make_shared<const Policy>()};
  Revocations revocations;
  LoginLimiter limiter;
  RecordingLog log{loop};
  Gate gate;
  Scope scope{loop};

 private:
  std::unique_ptr<Issuers> make_issuers(const GateConfig& config) {
    auto made = Issuers::make(loop,
                              fetcher,
                              metrics,
                              std::vector<IssuerConfig>{{.name = "corp", .url = issuer.url()}},
                              config.key_fetch);
    MERIDIAN_ASSERT(made);
    return *std::move(made);
  }
};

}  // namespace meridian::testing
