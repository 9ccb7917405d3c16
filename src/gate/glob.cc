#include "gate/glob.h"

#include "base/escape.h"

#include <algorithm>
#include <fmt/format.h>
#include <span>

namespace meridian {

Result<Glob> Glob::compile(std::string_view pattern) {
  const auto refuse = [&](std::string_view why) {
    return fail(Errc::invalid, fmt::format("the pattern {} {}", quote(pattern), why));
  };
  if (pattern.empty()) return refuse("is empty");
  if (pattern.size() > pattern_size_max) {
    return refuse(fmt::format("has {} bytes; at most {}", pattern.size(), pattern_size_max));
  }
  Glob glob;
  glob.pattern_ = pattern;
  using enum Step::Kind;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    switch (pattern[i]) {
      case '*':
        if (glob.steps_.empty() || glob.steps_.back().kind != any_text) {
          glob.steps_.push_back({.kind = any_text});
        }
        break;
      case '?':
        glob.steps_.push_back({.kind = any_byte});
        break;
      case '\\':
        if (++i == pattern.size()) return refuse("ends in a backslash");
        glob.steps_.push_back({.kind = literal, .literal = pattern[i]});
        break;
      case '[': {
        auto end = glob.compile_set(pattern, i + 1);
        if (!end) return refuse(end.error().detail());
        i = *end;
        break;
      }
      default:
        glob.steps_.push_back({.kind = literal, .literal = pattern[i]});
    }
  }
  const bool open_end = glob.steps_.back().kind == any_text;
  const auto fixed = std::span(glob.steps_).first(glob.steps_.size() - (open_end ? 1 : 0));
  if (std::ranges::all_of(fixed, [](const Step& step) { return step.kind == literal; })) {
    glob.form_ = open_end ? Form::prefix : Form::exact;
    for (const Step& step : fixed)
      glob.literal_ += step.literal;
  }
  return glob;
}

// Reads a set from behind its bracket and returns the place of the closing one.
Result<std::size_t> Glob::compile_set(std::string_view pattern, std::size_t at) {
  const bool negated = at < pattern.size() && pattern[at] == '^';
  if (negated) ++at;
  std::bitset<256> set;
  const auto add = [&](char first, char last) {
    const auto [low, high] =
        std::minmax(static_cast<unsigned char>(first), static_cast<unsigned char>(last));
    for (std::size_t byte = low; byte <= high; ++byte)
      set.set(byte);
  };
  for (; at < pattern.size() && pattern[at] != ']'; ++at) {
    if (pattern[at] == '\\') ++at;
    if (at == pattern.size()) break;
    const char first = pattern[at];
    if (at + 2 < pattern.size() && pattern[at + 1] == '-' && pattern[at + 2] != ']') {
      at += 2;
      add(first, pattern[at]);
    } else {
      add(first, first);
    }
  }
  if (at >= pattern.size()) return fail(Errc::invalid, "has a set without its closing bracket");
  if (set.none() && !negated) return fail(Errc::invalid, "has an empty set, which matches nothing");
  steps_.push_back({.kind = Step::Kind::set, .set = sets_.size()});
  sets_.push_back(negated ? ~set : set);
  return at;
}

bool Glob::matches(std::string_view text) const noexcept {
  switch (form_) {
    case Form::exact:
      return text == literal_;
    case Form::prefix:
      return text.starts_with(literal_);
    case Form::general:
      return matches_general(text);
  }
  return false;
}

bool Glob::matches_byte(const Step& step, char byte) const noexcept {
  switch (step.kind) {
    case Step::Kind::literal:
      return byte == step.literal;
    case Step::Kind::any_byte:
      return true;
    case Step::Kind::set:
      return sets_[step.set].test(static_cast<unsigned char>(byte));
    case Step::Kind::any_text:
      break;
  }
  return false;
}

// On a mismatch only the last `*` takes one byte more: an earlier one never has to, since what
// follows it has matched at the first place possible.
bool Glob::matches_general(std::string_view text) const noexcept {
  constexpr std::size_t none = std::string_view::npos;
  std::size_t step = 0;
  std::size_t at = 0;
  std::size_t star = none;
  std::size_t star_at = 0;
  while (at < text.size()) {
    if (step < steps_.size() && steps_[step].kind == Step::Kind::any_text) {
      star = step++;
      star_at = at;
    } else if (step < steps_.size() && matches_byte(steps_[step], text[at])) {
      ++step;
      ++at;
    } else if (star != none) {
      step = star + 1;
      at = ++star_at;
    } else {
      return false;
    }
  }
  return step == steps_.size() ||
         (step + 1 == steps_.size() && steps_[step].kind == Step::Kind::any_text);
}

}  // namespace meridian
