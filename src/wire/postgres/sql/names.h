#pragma once
// The walk over a whole parse tree that finds the names a statement reaches (struct Names).
//
// For the files of this folder alone.

#include "wire/postgres/sql/analysis.h"
#include "wire/postgres/sql/parse_tree.h"

#include <cstddef>
#include <string_view>
#include <vector>

namespace meridian::postgres {

// What one walk finds out.
struct Findings {
  Names names;
  bool changes_rows = false;  // INSERT, UPDATE, DELETE, MERGE or SELECT INTO, at any depth.
  bool locks_rows = false;    // FOR UPDATE and its kin, at any depth.
  bool temporary = false;     // Makes or names something in a temporary schema.
  // In the tree that was walked, in its order.
  std::vector<const PgQuery__RangeVar*> relations;  // Every place where a relation stands.
  std::vector<const PgQuery__FuncCall*> set_config_calls;
  std::string_view
      unknown;  // A kind of node that the walk does not know; the rest is not complete.
};

Findings find_names(const PgQuery__Node& statement);

// The name in a list of String nodes: "name", "schema.name" or "database.schema.name".
QualifiedName to_qualified_name(PgQuery__Node* const* parts, std::size_t count);

}  // namespace meridian::postgres
