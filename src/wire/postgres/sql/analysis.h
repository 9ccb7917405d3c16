#pragma once
// What an SQL text does, as far as the text alone can tell: per statement its kind, whether it can
// change rows, the names it reaches, what it leaves behind in the session, and transaction control.
// It serves pinning, commit-wait and guardrails. It is no security boundary: that is the database's
// own (postgres-door reference, section 2).
//
// The rule is never to be confidently wrong: what is not understood is said to be incomplete.
//
// Costs some ten microseconds for a short statement, and up to a microsecond a byte for a hostile
// one, and blocks the loop for as long as it runs. So results are kept by the text, or by its
// normalised form unless depends_on_literals is set, and long texts are for a BlockingPool.

#include "base/result.h"
#include "wire/postgres/sql/lexer.h"
#include "wire/postgres/sql/parse_bounds.h"

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::postgres {

// As folded by PostgreSQL's lexer. The schema is empty where the text leaves it to search_path.
struct QualifiedName {
  std::string schema;
  std::string name;
  friend auto operator<=>(const QualifiedName&, const QualifiedName&) = default;
};

// The names that a statement reaches, as its text spells them; what they stand for is for the
// catalogue to say. Each list is sorted and without duplicates.
//
// Not found by name: what GROUP BY, DISTINCT, set operations and ORDER BY call through the default
// operator classes of their types, implicit casts, and what lies behind views and policies.
struct Names {
  std::vector<QualifiedName> relations;  // Tables and views, read or written; no names of CTEs.
  std::vector<QualifiedName> functions;  // Called by name, also through SQL's special syntax.
  std::vector<QualifiedName> operators;
  std::vector<QualifiedName> types;  // In casts and definitions.
  // The last part of qualified column names: a.b is the function call b(a) where a has no column b.
  std::vector<std::string> attributes;
  // CURRENT_USER, LOCALTIME and the like, in lower case: they look like columns and are functions.
  std::vector<std::string> value_functions;
};

enum class StatementKind : std::uint8_t { select, insert, update, delete_, merge, utility };

// What may outlive the statement, or a transaction, in the session that ran it.
enum class SessionEffect : std::uint32_t {
  setting = 1 << 0,            // Statement::settings says which.
  unknown_setting = 1 << 1,    // set_config() of a name that the text does not tell.
  identity = 1 << 2,           // SET ROLE, SET SESSION AUTHORIZATION, and their RESET.
  listen = 1 << 3,             // Statement::subject is the channel.
  unlisten = 1 << 4,           // The channel; empty for all.
  prepare = 1 << 5,            // The name.
  execute = 1 << 6,            // The name; what it runs is not in this text.
  deallocate = 1 << 7,         // The name; empty for all.
  cursor = 1 << 8,             // The name; it ends with the transaction.
  held_cursor = 1 << 9,        // The name; it does not.
  fetch = 1 << 10,             // FETCH, MOVE or CLOSE: the name.
  temporary_object = 1 << 11,  // Made or named.
  advisory_lock = 1 << 12,     // Of the session, taken or given back.
  sequence_value = 1 << 13,    // currval() or lastval(): reads what the session did before.
  load = 1 << 14,
  code = 1 << 15,         // DO or CALL: may do anything.
  discard = 1 << 16,      // "all", "plans", "sequences" or "temp".
  copy_in = 1 << 17,      // FROM STDIN: the client sends rows.
  copy_out = 1 << 18,     // TO STDOUT.
  server_file = 1 << 19,  // COPY with a file or a program of the server.
};

class SessionEffects {
 public:
  bool has(SessionEffect effect) const noexcept {
    return (bits_ & static_cast<std::uint32_t>(effect)) != 0;
  }
  void add(SessionEffect effect) noexcept { bits_ |= static_cast<std::uint32_t>(effect); }
  bool none() const noexcept { return bits_ == 0; }

  friend bool operator==(const SessionEffects&, const SessionEffects&) = default;

 private:
  std::uint32_t bits_ = 0;
};

// SET, RESET or set_config() of one variable. SET TRANSACTION and SET SESSION CHARACTERISTICS go
// under "transaction" and "session characteristics", in lower case like all names.
struct SettingChange {
  enum class Kind : std::uint8_t { set, reset, reset_all };
  Kind kind = Kind::set;
  std::string name;    // Empty for reset_all.
  bool local = false;  // Ends with the transaction.
  friend bool operator==(const SettingChange&, const SettingChange&) = default;
};

enum class Isolation : std::uint8_t {
  read_uncommitted,
  read_committed,
  repeatable_read,
  serializable,
};

// BEGIN and its kin. SET TRANSACTION has the modes and no verb.
struct TransactionControl {
  enum class Verb : std::uint8_t {
    none,
    begin,
    commit,
    rollback,
    savepoint,
    release,
    rollback_to,
    prepare,
    commit_prepared,
    rollback_prepared,
  };
  Verb verb = Verb::none;
  bool chain = false;  // AND CHAIN: another transaction begins at once, with the same modes.
  std::optional<bool> read_only;
  std::optional<bool> deferrable;
  std::optional<Isolation> isolation;
};

struct Statement {
  StatementKind kind = StatementKind::utility;
  std::string_view node;    // PostgreSQL's own name of it: "SelectStmt". Lives for ever.
  std::uint32_t begin = 0;  // Where it is in the text, in bytes.
  std::uint32_t size = 0;

  // Every construct in it is known. If not, `unknown` names the first one that is not, and nothing
  // below may be relied on.
  bool complete = true;
  std::string_view unknown;

  // By its syntax it changes no rows of any table. It still may through a function that it calls,
  // so the catalogue must have a say about every name in `names`.
  bool reads_only = false;
  bool locks_rows = false;  // SELECT ... FOR UPDATE and its kin: writes log, changes no rows.

  Names names;
  SessionEffects effects;
  std::string subject;  // See SessionEffect.
  std::vector<SettingChange> settings;
  TransactionControl transaction;
};

struct Analysis {
  std::vector<Statement> statements;
  // libpg_query's, of the whole text: the same for texts of the same shape. For the trail; not a
  // key, since it ignores what is nested deeper than a hundred levels.
  std::uint64_t fingerprint = 0;
  bool mentions_synchronous_commit = false;  // Anywhere in the text, or set under that name.
  // Another text with the same normalised form may do something else: a utility statement, or a
  // call of set_config(), whose literals say what is done.
  bool depends_on_literals = false;

  bool complete() const noexcept;
};

struct AnalysisOptions {
  ParseBounds bounds;
  StringSyntax strings = StringSyntax::standard;
  bool fingerprint = true;
};

// Errors: as ParseTree::parse(). Whoever gets one knows nothing of the text. Needs
// analysis_stack_bytes of stack, and the lexer's encodings.
Result<Analysis> analyse(std::string_view sql, const AnalysisOptions& options = {});

}  // namespace meridian::postgres
