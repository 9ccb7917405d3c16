// Any SQL text: the lexer's tokens are those of PostgreSQL's own scanner (pg_query_scan), up to
// where the lexer says that it is unsure; and a text made from the normalised form has the same
// form.

#include "base/assert.h"
#include "wire/postgres/sql/form_sample.h"
#include "wire/postgres/sql/lexer.h"
#include "wire/postgres/sql/normalise.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <pg_query.h>
#include <pg_query/pg_query.pb-c.h>
#include <span>
#include <string>
#include <string_view>
#include <vector>

using namespace meridian::postgres;

namespace {

struct FreeScan {
  void operator()(PgQuery__ScanResult* scan) const noexcept {
    pg_query__scan_result__free_unpacked(scan, nullptr);
  }
};
using Scan = std::unique_ptr<PgQuery__ScanResult, FreeScan>;

// Null when the scanner refuses the text.
Scan scan(const std::string& text) {
  PgQueryScanResult result = pg_query_scan(text.c_str());
  Scan tokens;
  if (!result.error) {
    tokens.reset(pg_query__scan_result__unpack(
        nullptr, result.pbuf.len, reinterpret_cast<const std::uint8_t*>(result.pbuf.data)));
  }
  pg_query_free_scan_result(result);
  return tokens;
}

// The kinds of token that one of PostgreSQL's may be.
bool agrees(TokenKind kind, const PgQuery__ScanToken& token) {
  switch (static_cast<int>(token.token)) {
    case PG_QUERY__TOKEN__SQL_COMMENT:
    case PG_QUERY__TOKEN__C_COMMENT:
      return kind == TokenKind::comment;
    case PG_QUERY__TOKEN__SCONST:
      return kind == TokenKind::string || kind == TokenKind::escape_string ||
             kind == TokenKind::dollar_string;
    case PG_QUERY__TOKEN__USCONST:
      return kind == TokenKind::unicode_string;
    case PG_QUERY__TOKEN__BCONST:
      return kind == TokenKind::bit_string;
    case PG_QUERY__TOKEN__XCONST:
      return kind == TokenKind::hex_string;
    case PG_QUERY__TOKEN__ICONST:
      return kind == TokenKind::integer;
    case PG_QUERY__TOKEN__FCONST:
      return kind == TokenKind::integer || kind == TokenKind::decimal;
    case PG_QUERY__TOKEN__PARAM:
      return kind == TokenKind::parameter;
    case PG_QUERY__TOKEN__UIDENT:
      return kind == TokenKind::unicode_identifier;
    case PG_QUERY__TOKEN__IDENT:
      return kind == TokenKind::word || kind == TokenKind::quoted_identifier;
    default:
      return kind == TokenKind::word || kind == TokenKind::op || kind == TokenKind::punctuation;
  }
}

// Where the lexer may be unsure and the scanner sure: single bytes that begin no token of the
// grammar, and very long operators.
bool may_be_unsure(std::string_view rest) {
  constexpr std::string_view operators = "~!@#^&|`?+-*/%<>=";
  const std::size_t run = std::min(rest.find_first_not_of(operators), rest.size());
  const bool stray = !rest.empty() && !std::string_view(",()[].;:\"'").contains(rest[0]) &&
                     !operators.contains(rest[0]) && static_cast<unsigned char>(rest[0]) < 0x80 &&
                     !std::isalnum(static_cast<unsigned char>(rest[0])) && rest[0] != '_';
  return run > operator_bytes_max || stray;
}

// libpg_query makes a token of the comment in 'a' -- b \n 'c', which PostgreSQL itself does not:
// there the string goes on behind it (seen on version 15). From such a place on the two may differ.
bool may_be_continued(std::span<PgQuery__ScanToken* const> rest) {
  const auto is = [&](std::size_t i, PgQuery__Token kind) {
    return i < rest.size() && rest[i]->token == kind;
  };
  const bool string = is(0, PG_QUERY__TOKEN__SCONST) || is(0, PG_QUERY__TOKEN__USCONST) ||
                      is(0, PG_QUERY__TOKEN__BCONST) || is(0, PG_QUERY__TOKEN__XCONST);
  return string && is(1, PG_QUERY__TOKEN__SQL_COMMENT);
}

void check_tokens(const std::string& text) {
  const Scan scanned = scan(text);
  if (!scanned) return;
  const std::span tokens(scanned->tokens, scanned->n_tokens);
  Lexer lexer(text);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    Token token = lexer.next();
    if (token.kind == TokenKind::space) token = lexer.next();
    if (may_be_continued(tokens.subspan(i))) return;
    if (token.kind == TokenKind::unknown) {
      MERIDIAN_ASSERT(may_be_unsure(std::string_view(text).substr(token.begin)));
      return;
    }
    MERIDIAN_ASSERT(token.begin == static_cast<std::uint32_t>(tokens[i]->start));
    MERIDIAN_ASSERT(agrees(token.kind, *tokens[i]));
    // pg_query_scan ends U&"..." and U&'...' too early; where the next token begins tells enough.
    const bool known_end =
        tokens[i]->token != PG_QUERY__TOKEN__UIDENT && tokens[i]->token != PG_QUERY__TOKEN__USCONST;
    MERIDIAN_ASSERT(!known_end || token.end == static_cast<std::uint32_t>(tokens[i]->end));
  }
  Token last = lexer.next();
  if (last.kind == TokenKind::space) last = lexer.next();
  MERIDIAN_ASSERT(last.kind == TokenKind::end);
}

void check_form(std::string_view text) {
  std::string form;
  const Normalised normalised = normalise(text, form);
  if (!normalised.complete) {
    MERIDIAN_ASSERT(form.empty());
    return;
  }
  MERIDIAN_ASSERT(form.size() <= 6 * text.size());
  if (!keeps_no_string(form)) return;
  std::string again;
  const Normalised sample = normalise(sample_of(form), again);
  MERIDIAN_ASSERT(sample.complete && again == form && sample.hash == normalised.hash);
  MERIDIAN_ASSERT(sample.statements_max == normalised.statements_max);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  check_form(text);
  for (const StringSyntax strings : {StringSyntax::escaped, StringSyntax::unknown}) {
    std::string form;
    (void)normalise(text, form, strings);
  }
  if (!text.contains('\0')) check_tokens(text);
  return 0;
}
