#include "wire/postgres/sql/lexer.h"

#include "base/assert.h"

#include <algorithm>
#include <array>

namespace meridian::postgres {
namespace {

// What a byte may be part of.
enum Class : std::uint8_t {
  space_byte = 1,
  word_start_byte = 2,
  word_byte = 4,
  digit_byte = 8,
  operator_byte = 16,
};

constexpr std::array<std::uint8_t, 256> make_classes() {
  std::array<std::uint8_t, 256> classes{};
  for (const char c : std::string_view(" \t\n\r\f"))
    classes[static_cast<unsigned char>(c)] |= space_byte;
  for (const char c : std::string_view("~!@#^&|`?+-*/%<>="))
    classes[static_cast<unsigned char>(c)] |= operator_byte;
  for (std::size_t c = 0; c < classes.size(); ++c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
    const bool digit = c >= '0' && c <= '9';
    if (letter) classes[c] |= word_start_byte | word_byte;
    if (digit) classes[c] |= digit_byte | word_byte;
    if (c == '$') classes[c] |= word_byte;
  }
  return classes;
}
constexpr std::array<std::uint8_t, 256> classes = make_classes();

constexpr bool is(char c, Class wanted) noexcept {
  return (classes[static_cast<unsigned char>(c)] & wanted) != 0;
}

constexpr std::size_t none = std::string_view::npos;

// Characters that let an operator end in + or -.
bool frees_the_end(char c) noexcept {
  return std::string_view("~!@#^&|`?%").contains(c);
}

}  // namespace

Lexer::Lexer(std::string_view text, StringSyntax strings) noexcept
    : text_(text), strings_(strings) {
  MERIDIAN_ASSERT(text.size() <= 0x7fffffff);
}

void Lexer::move_to(std::uint32_t offset) noexcept {
  MERIDIAN_ASSERT(offset <= text_.size());
  at_ = offset;
}

Token Lexer::make(TokenKind kind, std::size_t end) noexcept {
  const Token token{.kind = kind,
                    .begin = static_cast<std::uint32_t>(at_),
                    .end = static_cast<std::uint32_t>(end)};
  at_ = end;
  return token;
}

Token Lexer::next() noexcept {
  if (at_ == text_.size()) return make(TokenKind::end, at_);
  const char c = text_[at_];
  if (is(c, word_start_byte)) return read_word();
  if (is(c, space_byte)) return make(TokenKind::space, skip_spaces(at_));
  if (is(c, digit_byte)) return read_number();
  if (c == '\'') {
    return read_string(
        strings_ == StringSyntax::escaped ? TokenKind::escape_string : TokenKind::string, at_);
  }
  if (c == '"') return read_quoted_identifier(TokenKind::quoted_identifier, at_);
  if (c == '$') return read_dollar();
  if (c == '-' && at(at_ + 1) == '-') return make(TokenKind::comment, skip_line(at_));
  if (c == '/' && at(at_ + 1) == '*') return read_block_comment();
  if (is(c, operator_byte)) return read_operator();
  return read_punctuation();
}

std::size_t Lexer::skip_spaces(std::size_t from) const noexcept {
  while (from < text_.size() && is(text_[from], space_byte))
    ++from;
  return from;
}

// To the line's end, which is not taken.
std::size_t Lexer::skip_line(std::size_t from) const noexcept {
  return std::min(text_.find_first_of("\n\r", from), text_.size());
}

Token Lexer::read_word() noexcept {
  const char first = text_[at_];
  const char second = at(at_ + 1);
  if (second == '\'') {
    if (first == 'e' || first == 'E') return read_string(TokenKind::escape_string, at_ + 1);
    if (first == 'b' || first == 'B') return read_string(TokenKind::bit_string, at_ + 1);
    if (first == 'x' || first == 'X') return read_string(TokenKind::hex_string, at_ + 1);
    // N'...' is the word NCHAR, spelt n, and a plain string.
  }
  if (second == '&' && (first == 'u' || first == 'U')) {
    const char third = at(at_ + 2);
    if (third == '"') return read_quoted_identifier(TokenKind::unicode_identifier, at_ + 2);
    if (third == '\'') return read_string(TokenKind::unicode_string, at_ + 2);
  }
  std::size_t end = at_ + 1;
  while (end < text_.size() && is(text_[end], word_byte))
    ++end;
  return make(TokenKind::word, end);
}

// Also for what begins with a point and a digit. A letter right behind a number is unknown: 0x1F,
// 1_000 and 1a are a number and a name up to version 14, an error in 15, and numbers from 16 on.
Token Lexer::read_number() noexcept {
  const auto skip_digits = [&](std::size_t from) {
    while (is(at(from), digit_byte))
      ++from;
    return from;
  };
  TokenKind kind = TokenKind::integer;
  std::size_t end = skip_digits(at_);
  if (at(end) == '.' && at(end + 1) != '.') {  // 1..2 is 1 and a double point.
    kind = TokenKind::decimal;
    end = skip_digits(end + 1);
  }
  if (at(end) == 'e' || at(end) == 'E') {
    const bool sign = at(end + 1) == '+' || at(end + 1) == '-';
    const std::size_t digits = end + (sign ? 2 : 1);
    if (!is(at(digits), digit_byte)) return unknown();
    kind = TokenKind::decimal;
    end = skip_digits(digits);
  }
  if (is(at(end), word_start_byte)) return unknown();
  return make(kind, end);
}

Token Lexer::read_dollar() noexcept {
  std::size_t end = at_ + 1;
  if (is(at(end), digit_byte)) {
    while (is(at(end), digit_byte))
      ++end;
    return is(at(end), word_start_byte) ? unknown() : make(TokenKind::parameter, end);
  }
  if (is(at(end), word_start_byte)) {
    while (at(end) != '$' && is(at(end), word_byte))
      ++end;
  }
  if (at(end) != '$') return unknown();
  const std::string_view tag = text_.substr(at_, end + 1 - at_);
  const std::size_t close = text_.find(tag, end + 1);
  if (close == none) return unknown();
  return make(TokenKind::dollar_string, close + tag.size());
}

Token Lexer::read_operator() noexcept {
  std::size_t end = at_;
  bool free_end = false;
  while (is(at(end), operator_byte)) {
    const char c = text_[end];
    const char following = at(end + 1);
    if ((c == '-' && following == '-') || (c == '/' && following == '*')) break;
    free_end = free_end || frees_the_end(c);
    ++end;
    if (end - at_ > operator_bytes_max) return unknown();
  }
  if (!free_end) {
    while (end - at_ > 1 && (text_[end - 1] == '+' || text_[end - 1] == '-'))
      --end;
  }
  return make(TokenKind::op, end);
}

Token Lexer::read_punctuation() noexcept {
  const char c = text_[at_];
  const char second = at(at_ + 1);
  if (c == '.' && is(second, digit_byte)) return read_number();
  const bool two = (c == ':' && (second == ':' || second == '=')) || (c == '.' && second == '.');
  if (two) return make(TokenKind::punctuation, at_ + 2);
  if (std::string_view(",()[].;:").contains(c)) return make(TokenKind::punctuation, at_ + 1);
  return make(TokenKind::unknown, at_ + 1);
}

Token Lexer::read_block_comment() noexcept {
  std::size_t depth = 1;
  std::size_t end = at_ + 2;
  while (depth > 0) {
    end = text_.find_first_of("*/", end);
    if (end == none || end + 1 == text_.size()) return unknown();
    if (text_[end] == '/' && text_[end + 1] == '*') {
      ++depth;
      end += 2;
    } else if (text_[end] == '*' && text_[end + 1] == '/') {
      --depth;
      end += 2;
    } else {
      ++end;
    }
  }
  return make(TokenKind::comment, end);
}

Token Lexer::read_quoted_identifier(TokenKind kind, std::size_t quote) noexcept {
  for (std::size_t end = text_.find('"', quote + 1); end != none; end = text_.find('"', end + 2)) {
    if (at(end + 1) != '"') return make(kind, end + 1);
  }
  return unknown();
}

Token Lexer::read_string(TokenKind kind, std::size_t quote) noexcept {
  while (quote != none) {
    const std::size_t end = string_end(kind, quote);
    if (end == none) break;
    quote = continuation(end);
    if (quote == none) return make(kind, end);
  }
  return unknown();
}

// Behind the closing quote of the piece that `quote` opens; none when there is none, or when what
// lies between cannot be read for sure.
std::size_t Lexer::string_end(TokenKind kind, std::size_t quote) noexcept {
  const bool escapes = kind == TokenKind::escape_string;
  const bool doubles = kind != TokenKind::bit_string && kind != TokenKind::hex_string;
  const bool unsure = kind == TokenKind::string && strings_ == StringSyntax::unknown;
  const std::string_view stops = escapes || unsure ? "'\\" : "'";
  for (std::size_t at = text_.find_first_of(stops, quote + 1); at < text_.size();
       at = text_.find_first_of(stops, at)) {
    if (text_[at] == '\\') {
      if (unsure) return none;
      at += 2;
    } else if (doubles && this->at(at + 1) == '\'') {
      at += 2;
    } else {
      return at + 1;
    }
  }
  return none;
}

// The opening quote of the next piece of a string: white space with a line's end in it, and
// comments of the -- kind, may stand between (SQL's own rule). None when the string is over.
std::size_t Lexer::continuation(std::size_t from) const noexcept {
  bool line_ended = false;
  while (from < text_.size()) {
    const char c = text_[from];
    if (c == '\'') return line_ended ? from : none;
    if (c == '-' && at(from + 1) == '-') {
      from = skip_line(from);
    } else if (is(c, space_byte)) {
      line_ended = line_ended || c == '\n' || c == '\r';
      ++from;
    } else {
      return none;
    }
  }
  return none;
}

}  // namespace meridian::postgres
