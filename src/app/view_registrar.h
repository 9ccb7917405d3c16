#pragma once
// Registers the configured views: finds out from the database what each depends on, whether it may
// be cached, and what the feed has to bring for it.

#include "app/config/config.h"
#include "cache/invalidator.h"
#include "cache/view_set.h"
#include "runtime/deadline.h"
#include "timeline/postgres/catalog.h"
#include "timeline/postgres/session.h"

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace meridian {

// A view as configured that cannot be read at all, and why.
struct BrokenView {
  std::string name;
  std::string reason;
};

struct Registration {
  std::shared_ptr<const ViewSet> views;
  std::vector<WatchedTable> tables;  // What the feed has to bring, by its ids.
  std::vector<std::string>
      published;  // The same as quoted names of tables, partitions as their roots.
  std::vector<BrokenView> broken;
};

struct RegistrarOptions {
  std::string database;
  std::uint64_t seed = 0;
  std::uint64_t generation = 0;
  // Why nothing may be cached: the schema cannot be watched, say. Empty: it may.
  std::string uncacheable;
};

// `session` looks things up; `open_as` gives a session of a role, to prepare the view's query with
// its rights. Errors are those of the sessions, and exhausted or conflict where a view's tables are
// locked; what is wrong with a view stands in `broken`.
using OpenAs = std::function<Async<Result<std::unique_ptr<PostgresSession>>>(std::string role,
                                                                             Deadline deadline)>;

Async<Result<Registration>> register_views(PostgresSession& session,
                                           OpenAs open_as,
                                           std::map<std::string, config::ViewConfig> views,
                                           RegistrarOptions options,
                                           Deadline deadline);

// `changed`: the publication is another one, also when not all could be done, and the feed has to
// begin anew.
struct PublicationChange {
  bool changed = false;
  Result<void> done;
};

// Makes the publication bring these tables, and no other and nothing less of them. Gives way to
// others who lock the tables: errors are exhausted or conflict then, and it is to be tried again.
Async<PublicationChange> publish_tables(PostgresSession& session,
                                        std::string publication,
                                        std::vector<std::string> tables,
                                        Deadline deadline);

// Has the tables tell the feed which request changed them, by a statement trigger. Gives way as
// publish_tables(); what could be done is done.
Async<Result<void>> install_request_triggers(PostgresSession& session,
                                             std::vector<std::string> tables,
                                             Deadline deadline);

// One paragraph a view for `meridian views explain`.
std::string explain(const View& view);

}  // namespace meridian
