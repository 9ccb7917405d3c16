#pragma once
// SQL text cut into tokens by PostgreSQL's lexical rules (PostgreSQL documentation, "Lexical
// Structure"; those of version 15). No grammar, no copy, no allocation.
//
// Requires an encoding in which a byte below 0x80 is always that character: UTF-8 and the
// single-byte ones, not SJIS, BIG5, GBK or GB18030, where it may be the second half of another.

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace meridian::postgres {

enum class TokenKind : std::uint8_t {
  end,
  space,               // A run of white space.
  comment,             // -- to the end of the line, or /* nested */.
  word,                // A keyword or an identifier without quotes.
  quoted_identifier,   // "like this"
  unicode_identifier,  // U&"like \0061 this"
  string,              // 'it''s', with its continuations on later lines.
  escape_string,       // E'it\'s', with its continuations.
  unicode_string,      // U&'\0061', with its continuations.
  dollar_string,       // $tag$ ... $tag$
  bit_string,          // B'01', with its continuations.
  hex_string,          // X'1f', with its continuations.
  integer,             // Digits alone.
  decimal,             // With a point or an exponent.
  parameter,           // $1
  op,                  // An operator of any length.
  punctuation,         // One of , ( ) [ ] . ; : or :: .. :=
  unknown,  // What begins no token, an unfinished one, or one that versions read differently.
};

// What '...' means, which the session's standard_conforming_strings decides.
enum class StringSyntax : std::uint8_t {
  standard,  // on, the default: a backslash is a backslash.
  escaped,   // off: as E'...'.
  unknown,   // A plain string with a backslash in it is then an unknown token.
};

struct Token {
  TokenKind kind = TokenKind::end;
  std::uint32_t begin = 0;  // Offsets into the text.
  std::uint32_t end = 0;

  std::uint32_t size() const noexcept { return end - begin; }
};

// PostgreSQL's names and operators have at most 63 bytes; longer runs of operator characters are an
// unknown token.
inline constexpr std::size_t operator_bytes_max = 63;

class Lexer {
 public:
  // Requires a text below 2 GiB that outlives the lexer.
  explicit Lexer(std::string_view text, StringSyntax strings = StringSyntax::standard) noexcept;

  // The next token; `end` for ever once the text is used up. After `unknown` the rest of the text
  // may mean anything; an unknown token still has at least one byte, so going on ends.
  Token next() noexcept;

  // Goes on reading at `offset`. Requires offset <= the size of the text.
  void move_to(std::uint32_t offset) noexcept;

  std::string_view text(Token token) const noexcept {
    return text_.substr(token.begin, token.size());
  }

 private:
  char at(std::size_t offset) const noexcept {
    return offset < text_.size() ? text_[offset] : '\0';
  }
  std::size_t skip_spaces(std::size_t from) const noexcept;
  std::size_t skip_line(std::size_t from) const noexcept;
  Token make(TokenKind kind, std::size_t end) noexcept;
  Token unknown() noexcept { return make(TokenKind::unknown, text_.size()); }
  Token read_word() noexcept;
  Token read_number() noexcept;
  Token read_dollar() noexcept;
  Token read_operator() noexcept;
  Token read_punctuation() noexcept;
  Token read_block_comment() noexcept;
  Token read_quoted_identifier(TokenKind kind, std::size_t quote) noexcept;
  Token read_string(TokenKind kind, std::size_t quote) noexcept;
  std::size_t string_end(TokenKind kind, std::size_t quote) noexcept;
  std::size_t continuation(std::size_t from) const noexcept;

  std::string_view text_;
  std::size_t at_ = 0;
  StringSyntax strings_;
};

}  // namespace meridian::postgres
