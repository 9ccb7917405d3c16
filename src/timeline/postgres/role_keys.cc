#include "timeline/postgres/role_keys.h"

#include "base/assert.h"
#include "base/escape.h"
#include "base/hex.h"
#include "wire/postgres/scram.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <utility>

namespace meridian {
namespace {

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

}  // namespace

Async<Result<void>> RoleKeys::renew(PostgresSession& session,
                                    std::vector<Managed> roles,
                                    Random& random,
                                    Deadline deadline) {
  // All nodes make the same passwords of it: one that starts must not lock the others out.
  std::array<std::uint8_t, 32> chance;
  random.fill_secret(chance);
  const std::string offered = to_hex(chance);
  MERIDIAN_CO_TRY(const Rows offers,
                  co_await session.query("INSERT INTO meridian.secrets (name, value) VALUES"
                                         " ('role_keys', $1) ON CONFLICT DO NOTHING",
                                         {offered},
                                         deadline));
  MERIDIAN_CO_TRY(const Rows kept,
                  co_await session.query(
                      "SELECT value FROM meridian.secrets WHERE name = 'role_keys'", {}, deadline));
  if (kept.empty()) co_return fail(Errc::not_found, "the secret of the roles' passwords is gone");
  const Secret shared{std::string(kept.text(0, 0))};
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
    Secret password(derive_password(shared, managed.role));
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
