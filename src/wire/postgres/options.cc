#include "wire/postgres/options.h"

#include "base/escape.h"

#include <algorithm>
#include <fmt/format.h>

namespace meridian::postgres {
namespace {

bool is_space(char c) noexcept {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

// Splits at white space and takes backslashes away. A lone backslash at the end stands for nothing.
std::vector<std::string> split(std::string_view options) {
  std::vector<std::string> words;
  bool inside = false;
  for (std::size_t i = 0; i < options.size(); ++i) {
    if (is_space(options[i])) {
      inside = false;
      continue;
    }
    if (!inside) words.emplace_back();
    inside = true;
    if (options[i] == '\\' && ++i == options.size()) break;
    words.back() += options[i];
  }
  return words;
}

// Names are letters, digits, '_' and, for an extension's settings, '.'; '-' stands for '_'.
Result<std::string> parse_name(std::string_view text) {
  std::string name;
  for (const char c : text) {
    const bool upper = c >= 'A' && c <= 'Z';
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
    if (!upper && !plain && c != '-') {
      return fail(Errc::invalid, fmt::format("options: {} is no name of a setting", quote(text)));
    }
    name += c == '-' ? '_' : (upper ? static_cast<char>(c - 'A' + 'a') : c);
  }
  if (name.empty()) return fail(Errc::invalid, "options: a setting has an empty name");
  return name;
}

Result<Setting> parse_setting(std::string_view text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos) {
    return fail(Errc::invalid,
                fmt::format("options: {} has no value; write name=value", quote(text)));
  }
  MERIDIAN_TRY(std::string name, parse_name(text.substr(0, equals)));
  return Setting{.name = std::move(name), .value = std::string(text.substr(equals + 1))};
}

}  // namespace

Result<std::vector<Setting>> parse_options(std::string_view options) {
  if (options.size() > options_bytes_max) {
    return fail(
        Errc::invalid,
        fmt::format(
            "options of {} bytes exceed options_bytes_max={}", options.size(), options_bytes_max));
  }
  const std::vector<std::string> words = split(options);
  std::vector<Setting> settings;
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::string_view word = words[i];
    if (word == "-c") {
      if (++i == words.size())
        return fail(Errc::invalid, "options: \"-c\" at the end lacks its name=value");
      word = words[i];
    } else if ((word.starts_with("-c") || word.starts_with("--")) && word.size() > 2) {
      word.remove_prefix(2);
    } else {
      return fail(Errc::invalid,
                  fmt::format("options: {} is not taken; only -c name=value and --name=value are",
                              quote(word)));
    }
    if (settings.size() == options_settings_max) {
      return fail(Errc::invalid,
                  fmt::format("options hold more than options_settings_max={} settings",
                              options_settings_max));
    }
    MERIDIAN_TRY(Setting setting, parse_setting(word));
    settings.push_back(std::move(setting));
  }
  return settings;
}

}  // namespace meridian::postgres
