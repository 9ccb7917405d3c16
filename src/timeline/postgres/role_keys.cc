#include "timeline/postgres/role_keys.h"

#include "base/assert.h"
#include "base/escape.h"
#include "base/hex.h"
#include "wire/postgres/scram.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

namespace meridian {
namespace {

constexpr int attempts_max = 3;

// A snapshot of before the lock would not show what the other node has done.
constexpr std::string_view begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
// Another node may be at it: that is worth waiting for, and no user takes this lock.
constexpr std::string_view patience = "SELECT set_config('lock_timeout', '20s', true)";
// Drawn in the database, so that it is in no statement that a log may show. The row stays locked
// until the end: one node at a time.
constexpr std::string_view secret_sql =
    "INSERT INTO meridian.secrets AS s (name, value) VALUES ('role_keys', encode(sha256(convert_to("
    "gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')),"
    " 'hex')) ON CONFLICT (name) DO UPDATE SET value = s.value RETURNING value";

// HMAC-SHA-256 (RFC 2104) of the role's name.
std::string derive_password(const Secret& shared, std::string_view role) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  const std::string_view key = shared.reveal();
  MERIDIAN_ASSERT(::HMAC(::EVP_sha256(),
                         key.data(),
                         static_cast<int>(key.size()),
                         reinterpret_cast<const unsigned char*>(role.data()),
                         role.size(),
                         digest.data(),
                         &size));
  return to_hex({digest.data(), size});
}

// "tuple concurrently updated", which has no code of its own: somebody else has just changed the
// role, and a second attempt finds it so.
bool was_overtaken(const Error& error) {
  return error.detail().ends_with("[XX000]");
}

}  // namespace

// A login that waits on its own loop.
struct RoleKeys::Waiter {
  Waiter(Loop& home, std::string wanted, Secret before, std::uint64_t renewals_begun)
      : loop(home),
        done(home),
        role(std::move(wanted)),
        refused(std::move(before)),
        begun(renewals_begun) {}

  Loop& loop;
  Event done;
  const std::string role;
  const Secret refused;
  const std::uint64_t begun;     // Renewals that do not count for it: they may have read before.
  std::optional<Error> problem;  // Before `done` is set.
};

RoleKeys::RoleKeys(EpollLoop& upkeep, Metrics& metrics)
    : upkeep_(upkeep),
      wanted_(upkeep),
      refused_(metrics.counter("meridian_role_passwords_refused_total",
                               "Logins that waited for a role's password to be renewed, since the "
                               "database had refused it.")),
      renewals_(metrics.counter("meridian_role_password_renewals_total",
                                "How often the roles were given their passwords.")) {}

Async<Result<void>> RoleKeys::renew(PostgresOptions owner,
                                    std::vector<Managed> roles,
                                    Deadline deadline) {
  std::uint64_t renewal = 0;
  {
    const std::lock_guard lock(mutex_);
    renewal = ++renewals_begun_;
    renewals_.add();
  }
  auto session = co_await PostgresSession::connect(upkeep_, std::move(owner), deadline);
  Result<Problems> done = Problems();
  if (session) {
    done = co_await set(**session, roles, deadline);
    for (int attempt = 1; attempt < attempts_max && !done && was_overtaken(done.error());
         ++attempt) {
      auto undone = co_await (*session)->query("ROLLBACK", {}, deadline);
      done = undone ? co_await set(**session, roles, deadline) : std::unexpected(undone.error());
    }
    // Undoes what was not committed.
    co_await (*session)->close();
  } else {
    done = std::unexpected(session.error());
  }
  release(renewal, done);
  if (!done) co_return fail_while("giving the database's roles their passwords", done.error());
  if (!done->empty()) co_return std::unexpected(done->begin()->second);
  co_return Result<void>();
}

Async<Result<RoleKeys::Problems>> RoleKeys::set(PostgresSession& session,
                                                std::vector<Managed> roles,
                                                Deadline deadline) {
  MERIDIAN_CO_CHECK(co_await session.query(begin, {}, deadline));
  MERIDIAN_CO_CHECK(co_await session.query(patience, {}, deadline));
  // All nodes make the same passwords of it: one that starts must not lock the others out.
  MERIDIAN_CO_TRY(const Rows kept, co_await session.query(secret_sql, {}, deadline));
  const Secret shared{std::string(kept.text(0, 0))};
  std::vector<std::string> statements;
  Passwords fresh;
  Problems problems;
  for (const Managed& managed : roles) {
    const std::string name = quote_identifier(managed.role);
    const std::string make =
        "CREATE ROLE " + name +
        " LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS";
    MERIDIAN_CO_TRY(const Rows rows,
                    co_await session.query(
                        "SELECT rolsuper, rolcanlogin FROM pg_catalog.pg_roles WHERE rolname = $1",
                        {managed.role},
                        deadline));
    if (rows.empty()) {
      if (!managed.create_missing) {
        problems.emplace(
            managed.role,
            Error(Errc::not_found,
                  "the database has no role " + quote(managed.role) + "; make it: " + make + ";"));
        continue;
      }
      statements.push_back(make);
    } else if (rows.flag(0, 0)) {
      problems.emplace(managed.role,
                       Error(Errc::denied,
                             "role " + quote(managed.role) +
                                 " is a superuser of the database; identities are not given such "
                                 "roles"));
      continue;
    } else if (!rows.flag(0, 1)) {
      statements.push_back("ALTER ROLE " + name + " LOGIN");
    }
    Secret password(derive_password(shared, managed.role));
    std::array<std::uint8_t, 16> salt;
    upkeep_.random().fill_secret(salt);
    MERIDIAN_CO_TRY(const std::string verifier, postgres::make_scram_verifier(password, salt));
    statements.push_back("ALTER ROLE " + name + " PASSWORD " + quote_literal(verifier));
    fresh.insert_or_assign(managed.role, std::move(password));
  }
  statements.emplace_back("COMMIT");
  MERIDIAN_CO_CHECK(co_await session.transact(std::move(statements), deadline));
  const std::lock_guard lock(mutex_);
  for (auto& [role, password] : fresh)
    passwords_.insert_or_assign(role, std::move(password));
  co_return problems;
}

void RoleKeys::release(std::uint64_t renewal, const Result<Problems>& done) {
  const std::lock_guard lock(mutex_);
  std::erase_if(waiters_, [&](const std::shared_ptr<Waiter>& waiter) {
    const auto kept = passwords_.find(waiter->role);
    const bool another = kept != passwords_.end() && !(kept->second == waiter->refused);
    if (waiter->begun >= renewal && !another) return false;
    if (!another && !done) {
      waiter->problem = done.error();
    } else if (!another) {
      const auto problem = done->find(waiter->role);
      if (problem != done->end()) waiter->problem = problem->second;
    }
    // Under the lock: a waiter that leaves takes it too, and its loop may end after that.
    waiter->loop.submit([waiter] { waiter->done.set(); });
    return true;
  });
}

bool RoleKeys::anyone_unserved() const {
  const std::lock_guard lock(mutex_);
  return std::ranges::any_of(waiters_,
                             [&](const auto& waiter) { return waiter->begun == renewals_begun_; });
}

Async<Wake> RoleKeys::wanted(Deadline deadline) {
  while (!anyone_unserved()) {
    const Wake wake = co_await wanted_.wait(deadline);
    if (wake != Wake::ready) co_return wake;
  }
  co_return Wake::ready;
}

Result<Secret> RoleKeys::password(std::string_view role) const {
  const std::lock_guard lock(mutex_);
  const auto found = passwords_.find(role);
  if (found == passwords_.end()) {
    return fail(Errc::not_found, "no password is kept for role " + quote(role));
  }
  return found->second;
}

Async<Result<Secret>> RoleKeys::password_after(std::string role,
                                               Secret refused,
                                               Deadline deadline) {
  Loop& home = (co_await this_fibre()).loop();
  std::shared_ptr<Waiter> waiter;
  {
    const std::lock_guard lock(mutex_);
    refused_.add();
    const auto kept = passwords_.find(role);
    if (kept != passwords_.end() && !(kept->second == refused)) co_return kept->second;
    waiter = std::make_shared<Waiter>(home, role, std::move(refused), renewals_begun_);
    waiters_.push_back(waiter);
  }
  upkeep_.submit([this] { wanted_.notify_all(); });
  const Wake wake = co_await waiter->done.wait(deadline);
  if (wake != Wake::ready) {
    const std::lock_guard lock(mutex_);
    std::erase(waiters_, waiter);
  }
  MERIDIAN_CO_CHECK(to_result(wake, "a renewal of the roles' passwords"));
  if (waiter->problem) co_return std::unexpected(*waiter->problem);
  co_return password(role);
}

}  // namespace meridian
