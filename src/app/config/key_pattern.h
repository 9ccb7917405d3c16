#pragma once
// The keys of a view: literal text with named parts in it, such as "user:{id}:orders:{year}".
//
// A part stands for one or more characters, none of them ":" nor the character that follows the
// part in the pattern. So a key can be cut into its parts in one way only, and "user:{id}" and
// "user:{id}:orders" are two different sets of keys.

#include "app/config/problems.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::config {

class KeyPattern {
 public:
  static constexpr std::size_t size_max = 256;
  static constexpr std::size_t parts_max = 8;

  // Literal text first, then at least one part; two parts have literal text between them.
  static Parsed<KeyPattern> parse(std::string_view text);

  // In the order of the pattern, each once.
  const std::vector<std::string>& parts() const noexcept { return parts_; }

  // Whether some key belongs to both.
  bool overlaps(const KeyPattern& other) const;

 private:
  // One step of a key that is read from left to right. A part is two: the byte that it must have,
  // and the step that stays where it is for each byte more.
  struct Step {
    enum class Kind : std::uint8_t { literal, one_of_part, more_of_part };
    Kind kind = Kind::literal;
    char byte = '\0';  // The literal; for a part, the byte that ends it.

    bool accepts(char c) const noexcept;
    bool meets(const Step& other) const noexcept;
  };

  void add_part(std::string name, char end);

  std::vector<Step> steps_;
  std::vector<std::string> parts_;
};

// The names in braces in a view's query, in order of first use. A brace that no name and closing
// brace follow is plain text, as in '{1,2}'.
std::vector<std::string> parts_of_query(std::string_view query);

// A part's name: a lower-case letter or _, then those and digits.
bool is_part_name(std::string_view name) noexcept;

}  // namespace meridian::config
