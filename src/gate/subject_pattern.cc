#include "gate/subject_pattern.h"

#include "base/escape.h"

#include <fmt/format.h>

namespace meridian {
namespace {

constexpr std::string_view delimiters = "/:";

// Takes the first segment off; `text` then begins with the delimiter, or is empty.
std::string_view take_segment(std::string_view& text) noexcept {
  const std::string_view segment = text.substr(0, text.find_first_of(delimiters));
  text.remove_prefix(segment.size());
  return segment;
}

}  // namespace

Result<SubjectPattern> SubjectPattern::compile(std::string_view pattern) {
  const auto refuse = [&](std::string_view why) {
    return fail(Errc::invalid, fmt::format("the subject {} {}", quote(pattern), why));
  };
  if (pattern.empty()) return refuse("is empty");
  bool any_literal = false;
  for (std::string_view rest = pattern;;) {
    const std::string_view segment = take_segment(rest);
    if (segment.contains('*') && segment != "*") {
      return refuse("has a * that is not a whole segment between / or :");
    }
    any_literal = any_literal || (!segment.empty() && segment != "*");
    if (rest.empty()) break;
    rest.remove_prefix(1);
  }
  if (!any_literal) return refuse("would be everybody; name a segment, or use a claim");
  SubjectPattern compiled;
  compiled.pattern_ = pattern;
  return compiled;
}

bool SubjectPattern::matches(std::string_view subject) const noexcept {
  std::string_view pattern = pattern_;
  for (;;) {
    const std::string_view wanted = take_segment(pattern);
    const std::string_view found = take_segment(subject);
    if (wanted == "*" ? found.empty() : wanted != found) return false;
    if (pattern.empty() || subject.empty()) return pattern.empty() && subject.empty();
    if (pattern.front() != subject.front()) return false;
    pattern.remove_prefix(1);
    subject.remove_prefix(1);
  }
}

}  // namespace meridian
