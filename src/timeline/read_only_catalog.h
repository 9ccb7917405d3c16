#pragma once
// What a database's catalogue says about which names are harmless: the other half of the proof that
// a statement changes no rows (the first is its syntax).

#include <string>
#include <unordered_set>

namespace meridian {

// The names that a statement may reach without changing a row, as of one version of the catalogue.
// A name is listed when everything of that name is harmless, whatever its schema and arguments.
// Immutable.
struct ReadOnlyCatalog {
  std::unordered_set<std::string> functions;
  std::unordered_set<std::string> operators;
  std::unordered_set<std::string> harmful_functions;  // They exist, and are not harmless.
  std::unordered_set<std::string> harmful_relations;  // Views that reach harm, foreign tables, ...
  std::unordered_set<std::string> harmful_types;

  // A cast, a type or an operator class may run code that is not harmless without being named:
  // nothing can be proven then. So too before the catalogue was read.
  bool implicit_harm = true;
};

}  // namespace meridian
