#include "wire/nats/headers.h"

namespace meridian::nats {
namespace {

constexpr std::string_view version = "NATS/1.0";

bool is_blank(char c) noexcept {
  return c == ' ' || c == '\t' || c == '\v' || c == '\f';
}

char to_lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

std::string_view trim(std::string_view text) noexcept {
  while (!text.empty() && is_blank(text.front()))
    text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back()))
    text.remove_suffix(1);
  return text;
}

}  // namespace

bool name_begins_with(std::string_view name, std::string_view prefix) noexcept {
  if (name.size() < prefix.size()) return false;
  for (std::size_t i = 0; i < prefix.size(); ++i) {
    if (to_lower(name[i]) != to_lower(prefix[i])) return false;
  }
  return true;
}

bool equal_names(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() && name_begins_with(a, b);
}

Result<void> each_header(std::string_view block, FunctionRef<void(const HeaderLine& line)> use) {
  bool first = true;
  while (!block.empty()) {
    const std::size_t size = block.find_first_of(std::string_view("\r\n\0", 3));
    if (size == std::string_view::npos || block.substr(size, 2) != "\r\n") {
      return fail(Errc::invalid, "a line of the headers does not end with CR LF");
    }
    const std::string_view line = block.substr(0, size);
    const std::string_view raw = block.substr(0, size + 2);
    block.remove_prefix(raw.size());
    if (first) {
      // A status may follow: "NATS/1.0 503".
      if (!line.starts_with(version) || (line.size() > version.size() && line[8] != ' ')) {
        return fail(Errc::invalid, "headers do not begin with NATS/1.0");
      }
      first = false;
      continue;
    }
    if (line.empty()) {
      if (block.empty()) return {};
      return fail(Errc::invalid, "something follows the empty line of the headers");
    }
    const std::size_t colon = line.find(':');
    use({.name = trim(line.substr(0, colon)),
         .value =
             colon == std::string_view::npos ? std::string_view() : trim(line.substr(colon + 1)),
         .raw = raw,
         .folded = is_blank(line.front())});
  }
  return fail(Errc::invalid, "headers have no empty line at their end");
}

}  // namespace meridian::nats
