#pragma once
// The policy: all roles, and which of them a verified token has. There is no default role.

#include "base/result.h"
#include "gate/role.h"
#include "gate/verified_token.h"

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace meridian {

// Never changes; a reload makes a new one and publishes it.
class Policy {
 public:
  // `issuers` are the names that bindings may use. Errors: invalid, naming the role.
  static Result<std::shared_ptr<const Policy>> compile(std::span<const RoleConfig> roles,
                                                       std::span<const std::string> issuers,
                                                       VisitCounts& counts);

  struct Bound {
    std::shared_ptr<const Role> role;
    std::string binding;  // Which one matched, in words.
    std::string warning;  // Empty, or that the binding's review is overdue.
  };

  // The role of who shows this: the only one that is bound to it, or the wanted one of several.
  // Errors: denied, saying what was looked for, why no binding matched and which roles the token
  // has. Only who has a genuine token is told.
  Result<Bound> bind(const Credentials& shown, std::string_view wanted_role, WallTime now) const;

  const std::vector<std::shared_ptr<const Role>>& roles() const noexcept { return roles_; }
  std::shared_ptr<const Role> find(std::string_view name) const noexcept;

 private:
  // "reader, writer"
  std::string roles_of(const Credentials& shown, WallTime now) const;

  std::vector<std::shared_ptr<const Role>> roles_;
};

}  // namespace meridian
