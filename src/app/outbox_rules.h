#pragma once
// The rules under `publish`, as the database knows them: triggers on the tables, who may publish
// what by SQL, and the publication that the outbox's feed reads.

#include "app/config/config.h"
#include "timeline/postgres/session.h"

#include <string>
#include <vector>

namespace meridian {

inline constexpr std::string_view outbox_publication = "meridian_outbox";

struct BrokenRule {
  std::string name;
  std::string reason;

  friend bool operator==(const BrokenRule&, const BrokenRule&) = default;
};

// Brings the database into line with the rules, as its owner; changes only what differs, and takes
// away what is in no rule. A rule that cannot be (its table is not there, say) is among what is
// returned; the others count all the same. Several nodes may try at once. Errors: those of the
// session.
Async<Result<std::vector<BrokenRule>>> register_publish_rules(PostgresSession& session,
                                                              config::Config config,
                                                              Deadline deadline);

// A subject with wildcards as a regular expression of PostgreSQL.
std::string to_regular_expression(std::string_view pattern);

}  // namespace meridian
