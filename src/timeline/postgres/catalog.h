#pragma once
// What PostgreSQL's catalogue says about tables, functions and types: for registering views, and
// for proving that statements change nothing.

#include "base/result.h"
#include "runtime/async.h"
#include "runtime/deadline.h"
#include "timeline/postgres/session.h"
#include "timeline/read_only_catalog.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace meridian {

struct ColumnFacts {
  std::string name;
  std::uint32_t type = 0;               // OID.
  bool collation_deterministic = true;  // Equal texts are the same bytes.
};

struct TableFacts {
  enum class Kind : std::uint8_t { table, partitioned, view, materialised_view, foreign, other };

  std::uint32_t id = 0;  // OID.
  std::string schema;
  std::string table;
  Kind kind = Kind::other;
  bool permanent = false;  // Neither temporary nor unlogged.
  bool row_security = false;
  bool has_children = false;  // Old-style inheritance: other tables answer for it too.
  bool has_foreign_part = false;
  bool built_in = false;  // Of pg_catalog or information_schema.
  char identity = 'd';    // As pg_class.relreplident.
  std::vector<std::string> identity_columns;
  std::vector<ColumnFacts> columns;
  std::vector<std::uint32_t> leaves;  // What the feed calls it: itself, or its partitions.

  const ColumnFacts* find(std::string_view column) const noexcept;
  bool in_identity(std::string_view column) const noexcept;
};

// Looks a name up as the session would; nothing when there is no such relation.
Async<Result<std::optional<TableFacts>>> look_up_table(PostgresSession& session,
                                                       std::string schema,
                                                       std::string name,
                                                       Deadline deadline);

// Those of the names whose result depends on more than their arguments and the rows they are given:
// volatile ones, and those of the session, the time, or other tables. Of `functions` also those
// that do not exist.
struct UnsteadyNames {
  std::vector<std::string> functions;
  std::vector<std::string> operators;
  std::vector<std::string> types;
};
Async<Result<UnsteadyNames>> find_unsteady(PostgresSession& session,
                                           std::vector<std::string> functions,
                                           std::vector<std::string> operators,
                                           std::vector<std::string> types,
                                           Deadline deadline);

Async<Result<std::shared_ptr<const ReadOnlyCatalog>>> load_read_only_catalog(
    PostgresSession& session, Deadline deadline);

// A list of texts as an array literal, for a parameter of type text[].
std::string to_array(const std::vector<std::string>& items);

}  // namespace meridian
