#include "wire/postgres/sql/parse_bounds.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <limits>
#include <utility>
#include <vector>

namespace meridian::postgres {
namespace {

// What a word does to the depth, by PostgreSQL's grammar (gram.y: a_expr, case_expr, joined_table,
// select_clause).
enum class Effect : std::uint8_t {
  none,
  link,     // One more link of an expression: IS, LIKE, COLLATE, AT TIME ZONE, ...
  join,     // Links items of FROM.
  set,      // Links whole queries.
  boolean,  // AND and OR make flat lists: another operand begins.
  between,  // The AND to come is its own.
  case_,    // Opens, as a bracket does.
  operand,  // Begins another operand inside CASE.
  end,      // Closes CASE.
};

struct Keyword {
  std::string_view name;
  Effect effect;
};
constexpr std::array keywords = {
    Keyword{"and", Effect::boolean},     Keyword{"at", Effect::link},
    Keyword{"between", Effect::between}, Keyword{"case", Effect::case_},
    Keyword{"collate", Effect::link},    Keyword{"else", Effect::operand},
    Keyword{"end", Effect::end},         Keyword{"except", Effect::set},
    Keyword{"ilike", Effect::link},      Keyword{"in", Effect::link},
    Keyword{"intersect", Effect::set},   Keyword{"is", Effect::link},
    Keyword{"isnull", Effect::link},     Keyword{"join", Effect::join},
    Keyword{"like", Effect::link},       Keyword{"not", Effect::link},
    Keyword{"notnull", Effect::link},    Keyword{"operator", Effect::link},
    Keyword{"or", Effect::boolean},      Keyword{"overlaps", Effect::link},
    Keyword{"similar", Effect::link},    Keyword{"then", Effect::operand},
    Keyword{"union", Effect::set},       Keyword{"when", Effect::operand},
};
static_assert(std::ranges::is_sorted(keywords, {}, &Keyword::name));

Effect effect_of(std::string_view word) noexcept {
  constexpr std::size_t longest = 9;
  if (word.size() > longest) return Effect::none;
  std::array<char, longest> buffer;
  std::ranges::transform(word, buffer.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  const std::string_view name(buffer.data(), word.size());
  const auto* const found = std::ranges::lower_bound(keywords, name, {}, &Keyword::name);
  return found != keywords.end() && found->name == name ? found->effect : Effect::none;
}

// A count that starts again for each item of a list and remembers its highest.
struct Chain {
  std::uint32_t now = 0;
  std::uint32_t high = 0;

  void add(std::uint32_t count) noexcept {
    now += count;
    high = std::max(high, now);
  }
  void restart() noexcept { now = 0; }
};

// What lies between one opening bracket (or CASE, or the text's beginning) and its close.
struct Level {
  bool is_case = false;
  Chain links;  // Of one operand; a bracket inside counts with all of its height.
  Chain joins;  // Of one item of FROM.
  std::uint32_t sets = 0;
  std::uint32_t betweens = 0;  // Whose AND has not come.
  std::uint32_t commas = 0;
  std::uint64_t copies = 1;        // Of the item at hand, for one of this level.
  std::uint64_t outer_copies = 1;  // Of this level.

  // Every path down the tree runs through set operations, then joins, then one operand.
  std::uint32_t height() const noexcept { return sets + joins.high + links.high; }

  void next_operand() noexcept {
    links.restart();
    betweens = 0;
  }
  void next_item() noexcept {
    next_operand();
    joins.restart();
    copies = 1;
  }
};

std::uint64_t saturating_product(std::uint64_t a, std::uint64_t b) noexcept {
  constexpr std::uint64_t most = std::numeric_limits<std::uint32_t>::max();
  return a > most / b ? most : a * b;
}

// Reads tokens and knows an upper bound of the height and the size of the tree they make.
class TreeEstimate {
 public:
  TreeEstimate() { levels_.emplace_back(); }

  // Chains grow above what was read before them (a + b + c is a tree that leans to the left), so it
  // is the sum of the heights of all that is open.
  std::uint32_t height() const noexcept { return outer_height_ + top().height(); }
  std::uint64_t tokens() const noexcept { return tokens_; }

  void add(TokenKind kind, std::string_view text) {
    tokens_ += saturating_product(top().outer_copies, top().copies);
    const bool after_point = std::exchange(after_point_, false);
    const std::uint32_t closed_items = std::exchange(closed_items_, 0);
    if (kind == TokenKind::punctuation) {
      punctuation(text);
    } else if (kind == TokenKind::op) {
      top().links.add(1);
      // (a, b) = ...: perhaps an assignment to several columns.
      if (text == "=") top().copies = std::max<std::uint64_t>(top().copies, closed_items);
    } else if (kind == TokenKind::word && !after_point) {  // Behind a point every word is a name.
      keyword(effect_of(text));
    }
  }

 private:
  Level& top() noexcept { return levels_.back(); }
  const Level& top() const noexcept { return levels_.back(); }

  void punctuation(std::string_view text) {
    after_point_ = text == ".";
    if (text == "(" || text == "[") {
      open(false);
    } else if (text == ")" || text == "]") {
      close_cases();
      const std::uint32_t items = top().commas + 1;
      if (levels_.size() > 1) close();
      closed_items_ = items;
    } else if (text == ",") {
      ++top().commas;
      top().next_item();
    } else if (text == "::") {
      top().links.add(1);
    } else if (text == ";") {
      close_cases();
      top().next_item();
    }
  }

  void keyword(Effect effect) {
    switch (effect) {
      case Effect::none:
        break;
      case Effect::link:
        top().links.add(1);
        break;
      case Effect::join:
        top().joins.add(1);
        break;
      case Effect::set:
        ++top().sets;
        top().next_item();
        break;
      case Effect::boolean:
        if (top().betweens > 0) {
          --top().betweens;
        } else {
          top().next_operand();
        }
        break;
      case Effect::between:
        top().links.add(1);
        ++top().betweens;
        break;
      case Effect::case_:
        open(true);
        break;
      case Effect::operand:
        if (top().is_case) top().next_operand();
        break;
      case Effect::end:
        if (top().is_case) close();
        break;
    }
  }

  void open(bool is_case) {
    Level level;
    level.is_case = is_case;
    level.outer_copies = saturating_product(top().outer_copies, top().copies);
    outer_height_ += top().height() + 1;
    levels_.push_back(level);
  }
  void close() {
    const std::uint32_t height = top().height() + 1;
    levels_.pop_back();
    outer_height_ -= top().height() + 1;
    top().links.add(height);
  }
  void close_cases() {
    while (top().is_case)
      close();
  }

  std::vector<Level> levels_;
  std::uint32_t outer_height_ = 0;  // Of all levels but the top, each with its bracket.
  std::uint64_t tokens_ = 0;
  bool after_point_ = false;
  std::uint32_t closed_items_ = 0;  // Of the bracket that closed with the last token.
};

}  // namespace

Result<void> check_parse_bounds(std::string_view sql,
                                const ParseBounds& bounds,
                                StringSyntax strings) {
  if (sql.size() > bounds.text_bytes_max) {
    return fail(Errc::exhausted,
                fmt::format("a text of {} bytes is above text_bytes_max={} and is not analysed",
                            sql.size(),
                            bounds.text_bytes_max));
  }
  Lexer lexer(sql,
              strings == StringSyntax::standard ? StringSyntax::standard : StringSyntax::unknown);
  TreeEstimate tree;
  for (Token token = lexer.next(); token.kind != TokenKind::end; token = lexer.next()) {
    if (token.kind == TokenKind::space || token.kind == TokenKind::comment) continue;
    if (token.kind == TokenKind::unknown) {
      return fail(Errc::invalid,
                  fmt::format("the token at byte {} is not understood", token.begin));
    }
    tree.add(token.kind, lexer.text(token));
    if (tree.height() > bounds.nesting_max) {
      return fail(Errc::exhausted,
                  fmt::format("the text may nest deeper than nesting_max={} at byte {}",
                              bounds.nesting_max,
                              token.begin));
    }
    if (tree.tokens() > bounds.tokens_max) {
      return fail(Errc::exhausted,
                  fmt::format("the text has more than tokens_max={} tokens, repetitions included",
                              bounds.tokens_max));
    }
  }
  return {};
}

}  // namespace meridian::postgres
