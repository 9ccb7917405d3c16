#include "wire/postgres/sql/analysis.h"

#include "base/escape.h"
#include "wire/postgres/sql/effects.h"
#include "wire/postgres/sql/names.h"
#include "wire/postgres/sql/parse_tree.h"

#include <algorithm>
#include <fmt/format.h>
#include <memory>
#include <pg_query.h>
#include <span>
#include <utility>

namespace meridian::postgres {
namespace {

constexpr std::string_view synchronous_commit = "synchronous_commit";

bool mentions(std::string_view text, std::string_view lower_case_word) noexcept {
  const auto found = std::ranges::search(text, lower_case_word, [](char a, char b) {
    return (a >= 'A' && a <= 'Z' ? a - 'A' + 'a' : a) == b;
  });
  return !found.empty();
}

Statement describe(const PgQuery__RawStmt& raw, std::size_t text_size) {
  Statement statement;
  statement.node = node_type_name(*unwrap(*raw.stmt)->descriptor);
  statement.begin = static_cast<std::uint32_t>(raw.stmt_location);
  // A length of zero stands for the rest of the text.
  statement.size = raw.stmt_len > 0 ? static_cast<std::uint32_t>(raw.stmt_len)
                                    : static_cast<std::uint32_t>(text_size) - statement.begin;
  Findings findings = find_names(*raw.stmt);
  statement.names = std::move(findings.names);
  statement.locks_rows = findings.locks_rows;
  statement.unknown = findings.unknown;
  statement.complete = findings.unknown.empty();
  find_effects(*raw.stmt, findings, statement);
  return statement;
}

bool depends_on_literals(const Statement& statement) noexcept {
  return statement.kind == StatementKind::utility ||
         statement.effects.has(SessionEffect::setting) ||
         statement.effects.has(SessionEffect::unknown_setting);
}

Result<std::uint64_t> fingerprint_of(const std::string& text) {
  struct Free {
    void operator()(PgQueryFingerprintResult* result) const noexcept {
      pg_query_free_fingerprint_result(*result);
    }
  };
  PgQueryFingerprintResult result = pg_query_fingerprint(text.c_str());
  const std::unique_ptr<PgQueryFingerprintResult, Free> owner(&result);
  if (result.error)
    return fail(Errc::invalid, fmt::format("fingerprint: {}", escape(result.error->message)));
  return result.fingerprint;
}

}  // namespace

bool Analysis::complete() const noexcept {
  return std::ranges::all_of(statements, &Statement::complete);
}

Result<Analysis> analyse(std::string_view sql, const AnalysisOptions& options) {
  MERIDIAN_TRY(const ParseTree tree, ParseTree::parse(sql, options.bounds, options.strings));
  Analysis analysis;
  analysis.mentions_synchronous_commit = mentions(sql, synchronous_commit);
  for (const PgQuery__RawStmt* const raw : std::span(tree.root().stmts, tree.root().n_stmts)) {
    if (!raw->stmt || !unwrap(*raw->stmt))
      return fail(Errc::invalid, "a statement of the text could not be read");
    analysis.statements.push_back(describe(*raw, sql.size()));
    const Statement& statement = analysis.statements.back();
    analysis.depends_on_literals = analysis.depends_on_literals || depends_on_literals(statement);
    analysis.mentions_synchronous_commit =
        analysis.mentions_synchronous_commit ||
        std::ranges::find(statement.settings, synchronous_commit, &SettingChange::name) !=
            statement.settings.end();
  }
  if (options.fingerprint) {
    MERIDIAN_TRY(analysis.fingerprint, fingerprint_of(std::string(sql)));
  }
  return analysis;
}

}  // namespace meridian::postgres
