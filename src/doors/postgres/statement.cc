#include "doors/postgres/statement.h"

#include "wire/postgres/sql/normalise.h"

#include <algorithm>
#include <utility>

namespace meridian {
namespace {

// Utility statements that change no rows and run none of the user's code. Transaction control is
// not here.
bool is_harmless_utility(const postgres::Statement& statement) {
  constexpr std::string_view harmless[] = {"VariableShowStmt",
                                           "VariableSetStmt",
                                           "DeallocateStmt",
                                           "DiscardStmt",
                                           "ListenStmt",
                                           "UnlistenStmt",
                                           "ClosePortalStmt",
                                           "CheckPointStmt"};
  return std::ranges::find(harmless, statement.node) != std::end(harmless);
}

// What begins or ends a transaction changes nothing by itself: what it commits was looked at
// before.
bool is_transaction_control(const postgres::Statement& statement) {
  using Verb = postgres::TransactionControl::Verb;
  switch (statement.transaction.verb) {
    case Verb::begin:
    case Verb::commit:
    case Verb::rollback:
    case Verb::savepoint:
    case Verb::release:
    case Verb::rollback_to:
      return true;
    case Verb::none:
    case Verb::prepare:
    case Verb::commit_prepared:
    case Verb::rollback_prepared:
      return false;
  }
  return false;
}

bool is_proven(const postgres::Statement& statement, const ReadOnlyCatalog& catalog) {
  if (!statement.complete) return false;
  if (is_transaction_control(statement) || is_harmless_utility(statement)) return true;
  if (!statement.reads_only || catalog.implicit_harm) return false;
  using postgres::SessionEffect;
  // What is executed or fetched is not in this text, and code may do anything.
  for (const SessionEffect effect : {SessionEffect::execute,
                                     SessionEffect::fetch,
                                     SessionEffect::code,
                                     SessionEffect::server_file}) {
    if (statement.effects.has(effect)) return false;
  }
  const postgres::Names& names = statement.names;
  const auto all_in = [](const auto& list, const auto& harmless) {
    return std::ranges::all_of(list,
                               [&](const auto& name) { return harmless.contains(name.name); });
  };
  const auto none_in = [](const auto& list, const auto& harmful) {
    return std::ranges::none_of(list,
                                [&](const auto& name) { return harmful.contains(name.name); });
  };
  return all_in(names.functions, catalog.functions) && all_in(names.operators, catalog.operators) &&
         none_in(names.relations, catalog.harmful_relations) &&
         none_in(names.types, catalog.harmful_types) &&
         std::ranges::none_of(names.attributes, [&](const std::string& name) {
           return catalog.harmful_functions.contains(name);
         });
}

char to_lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

// Without regard to the case of the letters A to Z.
bool contains_folded(std::string_view text, std::string_view word) {
  return !std::ranges::search(text, word, {}, to_lower).empty();
}

// READ WRITE of a transaction or a session, or the settings behind it in whatever sets one. Looked
// for in literals too, as set_config() takes its names there; SHOW and current_setting() only ask.
bool may_turn_writable(std::string_view sql, std::string_view normalised) {
  if (contains_folded(normalised, "read write")) return true;
  if (!contains_folded(sql, "transaction_read_only")) return false;
  return contains_folded(sql, "set_config") || contains_folded(normalised, "set transaction_") ||
         contains_folded(normalised, "set default_") ||
         contains_folded(normalised, "set session") || contains_folded(normalised, "set local") ||
         contains_folded(normalised, "do ");
}

// About what it takes in memory, with its place in the table.
std::size_t size_of(const StatementShape& shape) {
  constexpr std::size_t name_bytes = 96;
  std::size_t bytes = sizeof(StatementShape) + 2 * sizeof(void*) + sizeof(Hash128) + 64;
  bytes += shape.text.capacity();
  for (const postgres::Statement& statement : shape.analysis.statements) {
    const postgres::Names& names = statement.names;
    bytes += sizeof(postgres::Statement) + statement.subject.capacity();
    bytes += (names.functions.size() + names.operators.size() + names.relations.size() +
              names.types.size() + names.attributes.size() + statement.settings.size()) *
             name_bytes;
  }
  return bytes;
}

}  // namespace

bool is_proven_read_only(const postgres::Analysis& analysis, const ReadOnlyCatalog& catalog) {
  return std::ranges::all_of(analysis.statements, [&](const postgres::Statement& statement) {
    return is_proven(statement, catalog);
  });
}

StatementShape make_opaque_shape(std::string_view text) {
  StatementShape shape;
  shape.text = text;
  shape.fingerprint = hash_bytes(text);
  shape.may_commit_unflushed = true;
  return shape;
}

StatementClassifier::StatementClassifier(const Published<ReadOnlyCatalog>& catalog,
                                         Gauge* bytes_known)
    : bytes_known_(bytes_known),
      opaque_(std::make_shared<StatementShape>(make_opaque_shape("(not analysed)"))),
      catalog_(catalog) {}

StatementClassifier::Classified StatementClassifier::classify(std::string_view sql,
                                                              postgres::StringSyntax strings) {
  Classified classified{.shape = opaque_, .request = {}};
  if (sql.size() > text_bytes_max) return classified;
  normalised_.clear();
  const postgres::Normalised form = postgres::normalise(sql, normalised_, strings);
  if (!form.complete) return classified;
  classified.request = form.request;

  classified.shape = find_or_make(form.hash, sql, strings);
  if (classified.shape->analysis.depends_on_literals) {
    // The form alone does not tell what it does. The seed tells this key apart from a form's.
    classified.shape = find_or_make(hash_bytes_128(sql, 1), sql, strings);
  }
  return classified;
}

std::shared_ptr<StatementShape> StatementClassifier::find_or_make(const Hash128& key,
                                                                  std::string_view sql,
                                                                  postgres::StringSyntax strings) {
  const auto found = shapes_.find(key);
  if (found != shapes_.end()) return found->second;
  const auto older = older_.find(key);
  auto shape = older != older_.end() ? older->second : make_shape(sql, normalised_, strings);
  const std::size_t bytes = size_of(*shape);
  if (shapes_.size() >= shapes_max / 2 || bytes_ + bytes > shapes_bytes_max / 2) forget_older();
  shapes_[key] = shape;
  bytes_ += bytes;
  if (bytes_known_ != nullptr) bytes_known_->add(static_cast<std::int64_t>(bytes));
  return shape;
}

void StatementClassifier::forget_older() {
  if (bytes_known_ != nullptr) bytes_known_->add(-static_cast<std::int64_t>(older_bytes_));
  older_ = std::exchange(shapes_, {});
  older_bytes_ = std::exchange(bytes_, 0);
}

std::shared_ptr<StatementShape> StatementClassifier::make_shape(
    std::string_view sql, std::string_view normalised, postgres::StringSyntax strings) const {
  auto shape = std::make_shared<StatementShape>();
  shape->text = normalised;
  auto analysis = postgres::analyse(sql, {.bounds = {}, .strings = strings});
  if (!analysis) {
    // A syntax error, or beyond the bounds: the server will say.
    *shape = make_opaque_shape(normalised);
    shape->turns_writable = may_turn_writable(sql, normalised);
    return shape;
  }
  shape->known = analysis->complete();
  shape->listens = contains_folded(normalised, "listen ");
  shape->turns_writable = may_turn_writable(sql, normalised);
  shape->fingerprint = analysis->fingerprint;
  shape->may_commit_unflushed = analysis->mentions_synchronous_commit || !shape->known;
  using postgres::SessionEffect;
  for (const postgres::Statement& statement : analysis->statements) {
    shape->copies = shape->copies || statement.effects.has(SessionEffect::copy_in) ||
                    statement.effects.has(SessionEffect::copy_out);
    shape->may_commit_unflushed =
        shape->may_commit_unflushed || statement.effects.has(SessionEffect::unknown_setting);
    shape->resets_settings =
        shape->resets_settings ||
        (statement.effects.has(SessionEffect::discard) && statement.subject == "all") ||
        std::ranges::any_of(statement.settings, [](const postgres::SettingChange& change) {
          return change.kind != postgres::SettingChange::Kind::set;
        });
  }
  shape->analysis = std::move(*analysis);
  return shape;
}

bool StatementClassifier::proven_read_only(StatementShape& shape) {
  if (!shape.known) return false;
  const auto& catalog = catalog_.get();
  if (shape.proven_at != catalog_.version()) {
    shape.proven = is_proven_read_only(shape.analysis, *catalog);
    shape.proven_at = catalog_.version();
  }
  return shape.proven;
}

}  // namespace meridian
