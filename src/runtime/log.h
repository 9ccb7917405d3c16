#pragma once
// The log: one line an event on standard error, for operators. What clients do is on the trail, not
// here.
//
//   2026-11-21T08:15:30.123Z info  pool: opened a backend  role=checkout database=shop backends=3
//
// Any thread. A line is one write(2), so lines of several threads do not mix.

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace meridian {

enum class LogLevel : std::uint8_t { debug, info, warning, error };

struct LogField {
  LogField(std::string_view field_name, std::string_view field_value)
      : name(field_name), value(field_value) {}
  LogField(std::string_view field_name, const char* field_value)
      : name(field_name), value(field_value) {}
  template <class Number>
    requires std::is_arithmetic_v<Number>
  LogField(std::string_view field_name, Number number)
      : name(field_name), value(std::to_string(number)) {}

  std::string_view name;
  std::string value;
};

// `area` is the folder's noun: "pool", "feed", "redis". Values are quoted where they need it, and
// cut at 512 bytes.
void log(LogLevel level,
         std::string_view area,
         std::string_view message,
         std::initializer_list<LogField> fields = {});

inline void log_debug(std::string_view area,
                      std::string_view message,
                      std::initializer_list<LogField> fields = {}) {
  log(LogLevel::debug, area, message, fields);
}
inline void log_info(std::string_view area,
                     std::string_view message,
                     std::initializer_list<LogField> fields = {}) {
  log(LogLevel::info, area, message, fields);
}
inline void log_warning(std::string_view area,
                        std::string_view message,
                        std::initializer_list<LogField> fields = {}) {
  log(LogLevel::warning, area, message, fields);
}
inline void log_error(std::string_view area,
                      std::string_view message,
                      std::initializer_list<LogField> fields = {}) {
  log(LogLevel::error, area, message, fields);
}

// Lines below this level are dropped. info at start.
void set_log_level(LogLevel level) noexcept;

// Lines go to this descriptor instead of standard error. It stays the caller's.
void set_log_file(int fd) noexcept;

}  // namespace meridian
