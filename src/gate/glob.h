#pragma once
// Key patterns as Redis writes them: `*` any text, `?` one byte, `[a-z]` and `[^a-z]` one byte of a
// set, `\` takes the next byte as it is.
//
// Compiled once; matching takes at most (pattern size x key size) steps, and for exact texts and
// `prefix*`, which most are, one comparison.

#include "base/result.h"

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace meridian {

class Glob {
 public:
  static constexpr std::size_t pattern_size_max = 256;

  // Errors: invalid (empty, too long, an open set, nothing after a backslash).
  static Result<Glob> compile(std::string_view pattern);

  bool matches(std::string_view text) const noexcept;
  const std::string& pattern() const noexcept { return pattern_; }

 private:
  enum class Form : std::uint8_t { exact, prefix, general };
  struct Step {
    enum class Kind : std::uint8_t { literal, any_byte, any_text, set } kind;
    char literal = 0;
    std::size_t set = 0;  // Its place in sets_.
  };

  Result<std::size_t> compile_set(std::string_view pattern, std::size_t at);
  bool matches_byte(const Step& step, char byte) const noexcept;
  bool matches_general(std::string_view text) const noexcept;

  std::string pattern_;
  Form form_ = Form::general;
  std::string literal_;  // The text of an exact pattern, or the prefix.
  std::vector<Step> steps_;
  std::vector<std::bitset<256>> sets_;
};

}  // namespace meridian
