#include "app/config/units.h"

#include "base/assert.h"
#include "base/escape.h"
#include "base/number.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <limits>
#include <optional>
#include <span>

namespace meridian::config {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t size;
};

// Largest first. In microseconds, the smallest that anybody waits for.
constexpr std::array duration_units{Unit{"d", 86'400'000'000},
                                    Unit{"h", 3'600'000'000},
                                    Unit{"m", 60'000'000},
                                    Unit{"s", 1'000'000},
                                    Unit{"ms", 1'000},
                                    Unit{"us", 1}};

constexpr std::array byte_units{Unit{"TiB", std::uint64_t{1} << 40U},
                                Unit{"GiB", std::uint64_t{1} << 30U},
                                Unit{"MiB", std::uint64_t{1} << 20U},
                                Unit{"KiB", std::uint64_t{1} << 10U},
                                Unit{"B", 1}};

// 100 years: far over every range, far under what Duration holds (292 years).
constexpr std::uint64_t microseconds_max = std::uint64_t{100} * 365 * 86'400'000'000;

constexpr std::string_view digits = "0123456789";

std::string_view take_digits(std::string_view& text) {
  const std::size_t size = std::min(text.find_first_not_of(digits), text.size());
  const std::string_view taken = text.substr(0, size);
  text.remove_prefix(size);
  return taken;
}

std::string_view take_unit(std::string_view& text) {
  if (text.starts_with(' ')) text.remove_prefix(1);  // "64 MiB" reads better than "64MiB".
  const std::size_t size = std::min(text.find_first_of("0123456789 "), text.size());
  const std::string_view taken = text.substr(0, size);
  text.remove_prefix(size);
  return taken;
}

std::optional<std::size_t> index_of(std::span<const Unit> units, std::string_view name) {
  for (std::size_t i = 0; i < units.size(); ++i) {
    if (units[i].name == name) return i;
  }
  return std::nullopt;
}

std::unexpected<std::string> wrong(std::string_view text, std::string_view why) {
  return std::unexpected(quote(text) + " " + std::string(why));
}

}  // namespace

Parsed<Duration> parse_duration(std::string_view text) {
  std::string_view rest = text;
  std::uint64_t sum = 0;
  std::size_t next_unit = 0;  // Units before this one have been used or passed.
  do {
    const std::string_view number = take_digits(rest);
    if (number.empty()) return wrong(text, "is not a duration such as 250ms, 5m or 1h30m");
    if (rest.empty()) {
      return wrong(text,
                   "has no unit; write for example " + std::string(number) + "s or " +
                       std::string(number) + "ms");
    }
    if (rest.starts_with('.')) {
      return wrong(text, "has a fraction; write whole numbers with a smaller unit, as in 1500ms");
    }
    const std::string_view name = take_unit(rest);
    const auto unit = index_of(duration_units, name);
    if (!unit) {
      return wrong(text,
                   "has the unknown unit " + quote(name) + "; the units are d, h, m, s, ms, us");
    }
    if (*unit < next_unit) return wrong(text, "is out of order: the larger unit comes first, once");
    next_unit = *unit + 1;
    const auto value = parse_number<std::uint64_t>(number);
    const std::uint64_t size = duration_units[*unit].size;
    if (!value || *value > (microseconds_max - sum) / size) {
      return wrong(text, "is longer than a hundred years");
    }
    sum += *value * size;
    if (rest.size() > 1 && rest.front() == ' ') rest.remove_prefix(1);
  } while (!rest.empty());
  return std::chrono::microseconds(static_cast<std::int64_t>(sum));
}

std::string print_duration(Duration duration) {
  MERIDIAN_ASSERT(duration.count() >= 0 && duration.count() % 1'000 == 0);
  auto rest = static_cast<std::uint64_t>(duration.count()) / 1'000;
  if (rest == 0) return "0s";
  std::string text;
  for (const Unit& unit : duration_units) {
    if (rest < unit.size) continue;
    text += std::to_string(rest / unit.size);
    text += unit.name;
    rest %= unit.size;
  }
  return text;
}

Parsed<std::uint64_t> parse_bytes(std::string_view text) {
  std::string_view rest = text;
  const std::string_view number = take_digits(rest);
  if (number.empty()) return wrong(text, "is not a size such as 64MiB");
  if (rest.empty()) {
    return wrong(text,
                 "has no unit; write for example " + std::string(number) + "MiB or " +
                     std::string(number) + "B");
  }
  const std::string_view name = take_unit(rest);
  const auto unit = index_of(byte_units, name);
  if (!unit || !rest.empty()) {
    return wrong(text,
                 "is not a whole number and one unit; the units are B, KiB, MiB, GiB, TiB "
                 "(1 MiB is 1,048,576 B)");
  }
  const auto value = parse_number<std::uint64_t>(number);
  const std::uint64_t size = byte_units[*unit].size;
  if (!value || *value > std::numeric_limits<std::uint64_t>::max() / size) {
    return wrong(text, "is more than any machine holds");
  }
  return *value * size;
}

std::string print_bytes(std::uint64_t bytes) {
  for (const Unit& unit : byte_units) {
    if (bytes >= unit.size && bytes % unit.size == 0) {
      return std::to_string(bytes / unit.size) + std::string(unit.name);
    }
  }
  return "0B";
}

Parsed<std::chrono::sys_days> parse_date(std::string_view text) {
  const auto wrong_date = [&] { return wrong(text, "is not a day as in 2027-01-31"); };
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return wrong_date();
  for (const std::size_t i : {0U, 1U, 2U, 3U, 5U, 6U, 8U, 9U}) {
    if (!digits.contains(text[i])) return wrong_date();
  }
  const std::chrono::year_month_day date(
      std::chrono::year(*parse_number<int>(text.substr(0, 4))),
      std::chrono::month(*parse_number<unsigned>(text.substr(5, 2))),
      std::chrono::day(*parse_number<unsigned>(text.substr(8, 2))));
  if (!date.ok()) return wrong(text, "is a day that does not exist");
  return std::chrono::sys_days(date);
}

std::string print_date(std::chrono::sys_days day) {
  const std::chrono::year_month_day date(day);
  std::array<char, 16> text;
  const int size = std::snprintf(text.data(),
                                 text.size(),
                                 "%04d-%02u-%02u",
                                 static_cast<int>(date.year()),
                                 static_cast<unsigned>(date.month()),
                                 static_cast<unsigned>(date.day()));
  return std::string(text.data(), static_cast<std::size_t>(size));
}

}  // namespace meridian::config
