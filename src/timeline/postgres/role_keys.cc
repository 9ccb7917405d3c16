#include "timeline/postgres/role_keys.h"

#include "base/escape.h"
#include "base/hex.h"
#include "wire/postgres/scram.h"

#include <array>
#include <utility>

namespace meridian {

Async<Result<void>> RoleKeys::renew(PostgresSession& session,
                                    std::vector<Managed> roles,
                                    Random& random,
                                    Deadline deadline) {
  std::vector<std::string> statements;
  std::map<std::string, Secret, std::less<>> fresh;
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
        co_return fail(
            Errc::not_found,
            "the database has no role " + quote(managed.role) + "; make it: " + make + ";");
      }
      statements.push_back(make);
    } else if (rows.flag(0, 0)) {
      co_return fail(Errc::denied,
                     "role " + quote(managed.role) +
                         " is a superuser of the database; identities are not given such roles");
    } else if (!rows.flag(0, 1)) {
      statements.push_back("ALTER ROLE " + name + " LOGIN");
    }
    std::array<std::uint8_t, 32> bytes;
    random.fill_secret(bytes);
    Secret password(to_hex(bytes));
    std::array<std::uint8_t, 16> salt;
    random.fill_secret(salt);
    MERIDIAN_CO_TRY(const std::string verifier, postgres::make_scram_verifier(password, salt));
    statements.push_back("ALTER ROLE " + name + " PASSWORD " + quote_literal(verifier));
    fresh.insert_or_assign(managed.role, std::move(password));
  }
  if (!statements.empty()) {
    auto renewed = co_await session.transact(std::move(statements), deadline);
    if (!renewed)
      co_return fail_while("giving the database's roles new passwords", renewed.error());
  }
  const std::lock_guard lock(mutex_);
  for (auto& [role, password] : fresh)
    passwords_.insert_or_assign(role, std::move(password));
  co_return Result<void>();
}

Result<Secret> RoleKeys::password(std::string_view role) const {
  const std::lock_guard lock(mutex_);
  const auto found = passwords_.find(role);
  if (found == passwords_.end()) {
    return fail(Errc::not_found, "no password is kept for role " + quote(role));
  }
  return found->second;
}

}  // namespace meridian
