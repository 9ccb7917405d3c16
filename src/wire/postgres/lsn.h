#pragma once
// A place in PostgreSQL's write-ahead log, written as two hexadecimal halves: 0/16B3748.

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace meridian::postgres {

struct Lsn {
  std::uint64_t value = 0;  // 0: none.

  // Exactly two numbers of one to eight hexadecimal digits with a slash between them.
  static std::optional<Lsn> parse(std::string_view text) noexcept;
  std::string to_string() const;

  friend auto operator<=>(const Lsn&, const Lsn&) = default;
};

}  // namespace meridian::postgres
