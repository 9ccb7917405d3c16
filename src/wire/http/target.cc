#include "wire/http/target.h"

#include "base/escape.h"
#include "base/hex.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <fmt/format.h>

namespace meridian::http {

Result<std::string> decode_percent(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      out += ' ';
    } else if (text[i] == '%') {
      std::array<std::uint8_t, 1> byte;
      if (!from_hex(text.substr(i + 1, 2), byte)) {
        return fail(Errc::invalid, "a percent sign without two hex digits");
      }
      out += static_cast<char>(byte[0]);
      i += 2;
    } else {
      out += text[i];
    }
  }
  if (out.contains('\0') || !is_utf8(out)) {
    return fail(Errc::invalid, "text with a NUL, or that is no UTF-8");
  }
  return out;
}

std::optional<std::string_view> Parameters::find(std::string_view name) const noexcept {
  for (const auto& [known, value] : items_) {
    if (known == name) return value;
  }
  return std::nullopt;
}

Result<Parameters> parse_parameters(std::string_view text) {
  Parameters parameters;
  while (!text.empty()) {
    const std::size_t end = text.find('&');
    const std::string_view item = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (item.empty()) continue;
    if (parameters.items_.size() >= parameters_max) {
      return fail(Errc::exhausted, fmt::format("more than {} parameters", parameters_max));
    }
    const std::size_t equals = item.find('=');
    const std::string_view raw_value =
        equals == std::string_view::npos ? std::string_view() : item.substr(equals + 1);
    MERIDIAN_TRY(std::string name, decode_percent(item.substr(0, equals), true));
    MERIDIAN_TRY(std::string value, decode_percent(raw_value, true));
    if (parameters.find(name)) {
      return fail(Errc::invalid, fmt::format("the parameter {} comes twice", quote(name, 64)));
    }
    parameters.items_.emplace_back(std::move(name), std::move(value));
  }
  return parameters;
}

std::string Target::path() const {
  std::string path;
  for (const std::string& segment : segments)
    path += '/' + segment;
  return path.empty() ? "/" : path;
}

Result<Target> parse_target(std::string_view target) {
  if (!target.starts_with('/'))
    return fail(Errc::invalid, "the target does not begin with a slash");
  const std::size_t mark = target.find('?');
  std::string_view path = target.substr(1, mark == std::string_view::npos ? mark : mark - 1);
  Target parsed;
  while (!path.empty()) {
    if (parsed.segments.size() >= segments_max) {
      return fail(Errc::exhausted, fmt::format("a path of more than {} segments", segments_max));
    }
    const std::size_t end = path.find('/');
    MERIDIAN_TRY(std::string segment, decode_percent(path.substr(0, end), false));
    if (segment == "." || segment == ".." || segment.contains('/') || segment.contains('\\')) {
      return fail(Errc::invalid, "a path that leads upwards or hides a slash");
    }
    parsed.segments.push_back(std::move(segment));
    if (end == std::string_view::npos) break;
    path.remove_prefix(end + 1);
    if (path.empty()) parsed.segments.emplace_back();
  }
  if (mark != std::string_view::npos) {
    MERIDIAN_TRY(parsed.query, parse_parameters(target.substr(mark + 1)));
  }
  return parsed;
}

}  // namespace meridian::http
