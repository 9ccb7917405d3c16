#pragma once
// Reading rows from the timeline as a role: how views are filled.
//
// Implementations: timeline/postgres, and the simulated database of tests. Belongs to one loop.

#include "base/result.h"
#include "runtime/async.h"
#include "runtime/deadline.h"
#include "timeline/boot_id.h"
#include "timeline/rows.h"

#include <memory>
#include <string>
#include <vector>

namespace meridian {

// One query that is run often. Prepared once on each session that runs it.
struct ReadQuery {
  std::string name;  // Of the prepared statement; unique among the queries of a role.
  std::string role;
  std::string database;
  std::string sql;  // With $1, $2, ...
};

struct ReadRows {
  Rows rows;
  BootId boot = 0;  // The server that answered.
};

class Reader {
 public:
  virtual ~Reader() = default;

  // Runs the query in a snapshot taken after the call, on the primary. Errors: invalid (a value
  // that the database refuses), denied, unavailable, timeout, exhausted.
  virtual Async<Result<ReadRows>> read(std::shared_ptr<const ReadQuery> query,
                                       std::vector<std::string> parameters,
                                       Deadline deadline) = 0;
};

}  // namespace meridian
