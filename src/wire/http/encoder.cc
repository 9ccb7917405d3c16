#include "wire/http/encoder.h"

#include <array>
#include <chrono>
#include <fmt/format.h>
#include <iterator>

namespace meridian::http {
namespace {

void append_value(std::string& out, std::string_view value) {
  for (const char c : value)
    out += c == '\r' || c == '\n' || c == '\0' ? ' ' : c;
}

// Responses that never have a body nor say its size (RFC 9110, section 8.6).
bool has_no_body(int status) noexcept {
  return status == 204 || status == 304;
}

}  // namespace

std::string to_http_date(WallTime time) {
  constexpr std::array days{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr std::array months{
      "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(std::chrono::floor<std::chrono::seconds>(time - day));
  return fmt::format("{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
                     days[std::chrono::weekday(day).c_encoding()],
                     static_cast<unsigned>(date.day()),
                     months[static_cast<unsigned>(date.month()) - 1],
                     static_cast<int>(date.year()),
                     clock.hours().count(),
                     clock.minutes().count(),
                     clock.seconds().count());
}

std::string encode(const Response& response, const ResponseContext& context) {
  std::string out;
  out.reserve(256 + response.body.size());
  fmt::format_to(std::back_inserter(out),
                 "HTTP/1.1 {} {}\r\nDate: {}\r\n",
                 response.status,
                 reason_of(response.status),
                 to_http_date(context.now));
  for (const Header& header : response.headers) {
    append_value(out, header.name);
    out += ": ";
    append_value(out, header.value);
    out += "\r\n";
  }
  if (!has_no_body(response.status)) {
    fmt::format_to(std::back_inserter(out), "Content-Length: {}\r\n", response.body.size());
  }
  if (!context.keep_alive) out += "Connection: close\r\n";
  out += "\r\n";
  if (!context.head && !has_no_body(response.status)) out += response.body;
  return out;
}

}  // namespace meridian::http
