#pragma once
// Patterns of subjects: exact, or with `*` for one whole segment between `/` or `:`.
//
// "system:serviceaccount:shop:*" is every account of one namespace. "repo:acme/app*" is refused: it
// would also be "repo:acme/app-of-somebody-else".

#include "base/result.h"

#include <string>
#include <string_view>

namespace meridian {

class SubjectPattern {
 public:
  // Errors: invalid (empty, a `*` that is not a whole segment, nothing but `*`).
  static Result<SubjectPattern> compile(std::string_view pattern);

  bool matches(std::string_view subject) const noexcept;
  const std::string& pattern() const noexcept { return pattern_; }

 private:
  std::string pattern_;
};

}  // namespace meridian
