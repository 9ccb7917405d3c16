#include "wire/postgres/lsn.h"

#include "base/number.h"

#include <fmt/format.h>

namespace meridian::postgres {
namespace {

std::optional<std::uint32_t> parse_half(std::string_view digits) noexcept {
  constexpr int hexadecimal = 16;
  constexpr std::size_t digits_max = 8;
  if (digits.size() > digits_max) return std::nullopt;
  return parse_number<std::uint32_t>(digits, hexadecimal);
}

}  // namespace

std::optional<Lsn> Lsn::parse(std::string_view text) noexcept {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto high = parse_half(text.substr(0, slash));
  const auto low = parse_half(text.substr(slash + 1));
  if (!high || !low) return std::nullopt;
  return Lsn{std::uint64_t{*high} << 32 | *low};
}

std::string Lsn::to_string() const {
  return fmt::format("{:X}/{:X}", value >> 32, value & 0xffffffff);
}

}  // namespace meridian::postgres
