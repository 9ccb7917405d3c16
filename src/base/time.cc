#include "base/time.h"

#include <array>
#include <cstdio>
#include <string_view>

namespace meridian {

std::string to_rfc3339(WallTime time) {
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(time - day);
  std::array<char, 40> text;
  const int size = std::snprintf(text.data(),
                                 text.size(),
                                 "%04d-%02u-%02uT%02d:%02d:%02d.%06dZ",
                                 static_cast<int>(date.year()),
                                 static_cast<unsigned>(date.month()),
                                 static_cast<unsigned>(date.day()),
                                 static_cast<int>(clock.hours().count()),
                                 static_cast<int>(clock.minutes().count()),
                                 static_cast<int>(clock.seconds().count()),
                                 static_cast<int>(clock.subseconds().count()));
  return std::string(text.data(), static_cast<std::size_t>(size));
}

bool parse_rfc3339(std::string_view text, WallTime& time) noexcept {
  time = {};
  // Digits at fixed places: YYYY-MM-DDTHH:MM:SS, then an optional fraction, then Z.
  if (text.size() < 20 || text[4] != '-' || text[7] != '-' ||
      (text[10] != 'T' && text[10] != ' ') || text[13] != ':' || text[16] != ':' ||
      text.back() != 'Z') {
    return false;
  }
  const auto number = [&](std::size_t from, std::size_t count) {
    int value = 0;
    for (std::size_t i = from; i < from + count; ++i) {
      if (text[i] < '0' || text[i] > '9') return -1;
      value = value * 10 + (text[i] - '0');
    }
    return value;
  };
  const int year = number(0, 4);
  const int month = number(5, 2);
  const int day = number(8, 2);
  const int hour = number(11, 2);
  const int minute = number(14, 2);
  const int second = number(17, 2);
  if (year < 0 || month < 1 || day < 1 || hour < 0 || hour > 23 || minute < 0 || minute > 59 ||
      second < 0 || second > 60) {
    return false;
  }
  const std::chrono::year_month_day date(std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day)));
  if (!date.ok()) return false;
  int micros = 0;
  if (text.size() > 20) {
    if (text[19] != '.' || text.size() < 22 || text.size() > 30) return false;
    int scale = 100'000;
    for (const char c : text.substr(20, text.size() - 21)) {
      if (c < '0' || c > '9') return false;
      micros += (c - '0') * scale;
      scale /= 10;
    }
  }
  time = std::chrono::sys_days(date) + std::chrono::hours(hour) + std::chrono::minutes(minute) +
         std::chrono::seconds(second) + std::chrono::microseconds(micros);
  return true;
}

std::string to_text(Duration duration) {
  struct Unit {
    std::int64_t size;
    const char* name;
  };
  constexpr std::array units{Unit{86'400'000'000'000, "d"},
                             Unit{3'600'000'000'000, "h"},
                             Unit{60'000'000'000, "m"},
                             Unit{1'000'000'000, "s"},
                             Unit{1'000'000, "ms"},
                             Unit{1'000, "us"},
                             Unit{1, "ns"}};
  const std::int64_t count = duration.count();
  const std::int64_t magnitude = count < 0 ? -count : count;
  for (const Unit& unit : units) {
    if (magnitude < unit.size) continue;
    std::array<char, 40> text;
    const double value = static_cast<double>(count) / static_cast<double>(unit.size);
    const bool whole = count % unit.size == 0;
    const int size =
        std::snprintf(text.data(), text.size(), whole ? "%.0f %s" : "%.1f %s", value, unit.name);
    return std::string(text.data(), static_cast<std::size_t>(size));
  }
  return "0 s";
}

}  // namespace meridian
