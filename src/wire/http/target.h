#pragma once
// Targets and forms: percent-encoded text taken apart (RFC 3986; WHATWG URL, section 5, for forms).

#include "base/result.h"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace meridian::http {

inline constexpr std::size_t parameters_max = 100;
inline constexpr std::size_t segments_max = 64;

// Names and values of a query or a form. Each name occurs once.
class Parameters {
 public:
  std::optional<std::string_view> find(std::string_view name) const noexcept;
  const std::vector<std::pair<std::string, std::string>>& items() const noexcept { return items_; }

 private:
  friend Result<Parameters> parse_parameters(std::string_view text);

  std::vector<std::pair<std::string, std::string>> items_;
};

// application/x-www-form-urlencoded text: a form's body, or the query of a target. Errors: invalid
// (a bad escape, a NUL, no UTF-8, a name twice), exhausted (parameters_max).
Result<Parameters> parse_parameters(std::string_view text);

struct Target {
  std::vector<std::string>
      segments;  // "/a/b%20c" is {"a", "b c"}; "/" is none; "/a/" is {"a", ""}.
  Parameters query;

  // The segments joined as in the text of a route: "/a/b c".
  std::string path() const;
};

// Errors: as of parse_parameters, and segments "." and "..", escaped slashes and backslashes: what
// lies below a path stays below it for every reader.
Result<Target> parse_target(std::string_view target);

// %41 becomes A, and + becomes a space in forms. Errors: invalid.
Result<std::string> decode_percent(std::string_view text, bool plus_is_space);

}  // namespace meridian::http
