#include "wire/postgres/sql/normalise.h"

#include "base/number.h"

#include <algorithm>
#include <limits>
#include <optional>

namespace meridian::postgres {
namespace {

// By value, as PostgreSQL's lexer and make_const() decide; leading zeros do not count.
std::string_view class_of_integer(std::string_view digits) noexcept {
  constexpr std::size_t surely_int4 = 9;
  if (digits.size() <= surely_int4) return "{int4}";
  digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.size()));
  if (digits.empty()) return "{int4}";
  const auto value = parse_number<std::int64_t>(digits);
  if (!value) return "{numeric}";
  return *value <= std::numeric_limits<std::int32_t>::max() ? "{int4}" : "{int8}";
}

// The placeholder of a literal; empty for every other token.
std::string_view class_of(const Lexer& lexer, Token token) noexcept {
  switch (token.kind) {
    case TokenKind::string:
    case TokenKind::escape_string:
    case TokenKind::unicode_string:
    case TokenKind::dollar_string:
      return "{string}";
    case TokenKind::bit_string:
      return "{bits}";
    case TokenKind::hex_string:
      return "{hex}";
    case TokenKind::integer:
      return class_of_integer(lexer.text(token));
    case TokenKind::decimal:
      return "{numeric}";
    case TokenKind::end:
    case TokenKind::space:
    case TokenKind::comment:
    case TokenKind::word:
    case TokenKind::quoted_identifier:
    case TokenKind::unicode_identifier:
    case TokenKind::parameter:
    case TokenKind::op:
    case TokenKind::punctuation:
    case TokenKind::unknown:
      return {};
  }
  return {};
}

// The string behind UESCAPE decides how the identifier before it reads, so it is no mere value.
bool is_uescape(std::string_view word) noexcept {
  constexpr std::string_view name = "uescape";
  return word.size() == name.size() &&
         std::ranges::equal(word, name, [](char a, char b) { return (a | 0x20) == b; });
}

// Percent signs and two hex digits become bytes; nothing else is special (sqlcommenter,
// "Key Value format").
std::string decode_url(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = text[i] == '%' ? parse_number<std::uint8_t>(text.substr(i + 1, 2), 16)
                                     : std::optional<std::uint8_t>();
    const bool escape = byte && i + 2 < text.size();
    decoded += escape ? static_cast<char>(*byte) : text[i];
    if (escape) i += 2;
  }
  return decoded;
}

bool is_letter(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

RequestId find_request(std::string_view comment) {
  constexpr std::string_view key = "traceparent='";
  constexpr std::size_t encoded_bytes_max = 256;
  const std::size_t found = comment.find(key);
  if (found == std::string_view::npos) return {};
  const bool own_key = found == 0 || !(comment[found - 1] == '_' || is_letter(comment[found - 1]));
  if (!own_key) return {};
  std::string_view value = comment.substr(found + key.size());
  const std::size_t end = value.find('\'');
  if (end == std::string_view::npos || end > encoded_bytes_max) return {};
  return parse_traceparent(decode_url(value.substr(0, end))).value_or(RequestId());
}

// Writes the form of one text. What stays as it is gathers in [kept_from_, kept_to_) and is copied
// in one piece when something interrupts it.
class Normaliser {
 public:
  Normaliser(std::string_view sql, std::string& out, StringSyntax strings) noexcept
      : sql_(sql), out_(out), lexer_(sql, strings) {}

  Normalised run() {
    const std::size_t before = out_.size();
    Normalised result;
    for (;;) {
      const Token token = lexer_.next();
      if (token.kind == TokenKind::end) break;
      if (token.kind == TokenKind::unknown) {
        out_.resize(before);
        return {};
      }
      add(token, result);
    }
    flush();
    if (segment_has_token_) ++result.statements_max;
    result.complete = true;
    result.hash = hash_bytes_128(std::string_view(out_).substr(before));
    return result;
  }

 private:
  void add(Token token, Normalised& result) {
    if (token.kind == TokenKind::space || token.kind == TokenKind::comment) {
      if (token.kind == TokenKind::comment && result.request.nil())
        result.request = find_request(lexer_.text(token));
      space_ = true;
      return;
    }
    count_statement(token, result);
    const std::string_view placeholder = uescape_ ? std::string_view() : class_of(lexer_, token);
    if (placeholder.empty()) {
      keep(token);
    } else {
      flush();
      if (space_ && begun_) out_ += ' ';
      out_ += placeholder;
    }
    uescape_ = token.kind == TokenKind::word && is_uescape(lexer_.text(token));
    begun_ = true;
    space_ = false;
  }

  void count_statement(Token token, Normalised& result) noexcept {
    const bool separator = token.kind == TokenKind::punctuation && sql_[token.begin] == ';';
    if (separator && segment_has_token_) ++result.statements_max;
    segment_has_token_ = !separator;
  }

  void keep(Token token) {
    // A single blank between two kept tokens is already what it should be.
    const bool joins =
        kept_from_ != kept_to_ &&
        (space_ ? token.begin == kept_to_ + 1 && sql_[kept_to_] == ' ' : token.begin == kept_to_);
    if (!joins) {
      flush();
      if (space_ && begun_) out_ += ' ';
      kept_from_ = token.begin;
    }
    kept_to_ = token.end;
  }

  void flush() {
    out_ += sql_.substr(kept_from_, kept_to_ - kept_from_);
    kept_from_ = kept_to_;
  }

  std::string_view sql_;
  std::string& out_;
  Lexer lexer_;
  std::size_t kept_from_ = 0;
  std::size_t kept_to_ = 0;
  bool begun_ = false;    // A token has been written or kept.
  bool space_ = false;    // White space or a comment since the last one.
  bool uescape_ = false;  // The last one was the word UESCAPE.
  bool segment_has_token_ = false;
};

}  // namespace

Normalised normalise(std::string_view sql, std::string& out, StringSyntax strings) {
  if (sql.contains('\0')) return {};
  return Normaliser(sql, out, strings).run();
}

}  // namespace meridian::postgres
