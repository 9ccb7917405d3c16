#include "wire/nats/subject.h"

namespace meridian::nats {
namespace {

constexpr std::string_view any_token = "*";
constexpr std::string_view any_rest = ">";

bool is_space(char c) noexcept {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f';
}

}  // namespace

std::string_view first_token(std::string_view subject) noexcept {
  return subject.substr(0, subject.find('.'));
}

std::string_view take_token(std::string_view& subject) noexcept {
  const std::string_view token = first_token(subject);
  subject.remove_prefix(token.size() == subject.size() ? subject.size() : token.size() + 1);
  return token;
}

bool is_subject(std::string_view text) noexcept {
  bool token_begins = true;
  for (const char c : text) {
    if (is_space(c)) return false;
    if (c == '.' && token_begins) return false;
    token_begins = c == '.';
  }
  return !token_begins;
}

bool is_pattern(std::string_view text) noexcept {
  if (!is_subject(text)) return false;
  while (!text.empty()) {
    if (take_token(text) == any_rest && !text.empty()) return false;
  }
  return true;
}

bool is_literal(std::string_view text) noexcept {
  if (text.empty() || text.front() == '.' || text.back() == '.') return false;
  return !text.contains("..") && !has_wildcard(text);
}

bool has_wildcard(std::string_view pattern) noexcept {
  while (!pattern.empty()) {
    const std::string_view token = take_token(pattern);
    if (token == any_token || token == any_rest) return true;
  }
  return false;
}

bool matches(std::string_view pattern, std::string_view subject) noexcept {
  if (!is_subject(subject)) return false;
  while (!pattern.empty() && !subject.empty()) {
    const std::string_view wanted = take_token(pattern);
    if (wanted == any_rest && pattern.empty()) return true;
    const std::string_view token = take_token(subject);
    if (wanted != any_token && wanted != token) return false;
  }
  return pattern.empty() && subject.empty();
}

bool is_subset(std::string_view pattern, std::string_view within) noexcept {
  while (!pattern.empty() && !within.empty()) {
    const std::string_view wanted = take_token(within);
    if (wanted == any_rest) return true;
    const std::string_view token = take_token(pattern);
    if (token == any_rest) return false;
    if (wanted != any_token && wanted != token) return false;
  }
  return pattern.empty() && within.empty();
}

bool overlaps(std::string_view a, std::string_view b) noexcept {
  while (!a.empty() && !b.empty()) {
    const std::string_view one = take_token(a);
    const std::string_view other = take_token(b);
    if (one == any_rest || other == any_rest) return true;
    if (one != other && one != any_token && other != any_token) return false;
  }
  return a.empty() && b.empty();
}

}  // namespace meridian::nats
