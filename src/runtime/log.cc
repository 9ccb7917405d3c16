#include "runtime/log.h"

#include "base/escape.h"
#include "base/time.h"

#include <array>
#include <atomic>
#include <chrono>
#include <unistd.h>

namespace meridian {
namespace {

std::atomic<LogLevel> level_min{LogLevel::info};
std::atomic<int> log_fd{STDERR_FILENO};

constexpr std::size_t value_size_max = 512;

bool needs_quotes(std::string_view value) noexcept {
  return value.empty() || value.find_first_of(" \t\r\n\"\\=") != std::string_view::npos ||
         !is_utf8(value);
}

}  // namespace

void log(LogLevel level,
         std::string_view area,
         std::string_view message,
         std::initializer_list<LogField> fields) {
  if (level < level_min.load(std::memory_order_relaxed)) return;
  constexpr std::array<std::string_view, 4> names{"debug", "info ", "warn ", "error"};
  // The log has a clock of its own: a simulated run logs in real time.
  std::string line =
      to_rfc3339(std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now()));
  line.replace(line.size() - 4, 4, "Z ");  // Milliseconds are enough.
  line += names[static_cast<std::size_t>(level)];
  line += ' ';
  line += area;
  line += ": ";
  line += escape(message, 4 * value_size_max);
  bool first = true;
  for (const LogField& field : fields) {
    line += first ? "  " : " ";
    first = false;
    line += field.name;
    line += '=';
    line += needs_quotes(field.value) ? quote(field.value, value_size_max)
                                      : escape(field.value, value_size_max);
  }
  line += '\n';
  (void)!::write(log_fd.load(std::memory_order_relaxed), line.data(), line.size());
}

void set_log_level(LogLevel level) noexcept {
  level_min.store(level, std::memory_order_relaxed);
}

void set_log_file(int fd) noexcept {
  log_fd.store(fd, std::memory_order_relaxed);
}

}  // namespace meridian
