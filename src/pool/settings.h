#pragma once
// The settings of a session that the server reports (ParameterStatus): a handful of names and
// values.

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace meridian {

class ReportedSettings {
 public:
  static constexpr std::size_t settings_max = 64;

  // False when there would be too many: then the server is not to be believed.
  bool set(std::string_view name, std::string_view value) {
    for (auto& [known, present] : settings_) {
      if (known != name) continue;
      present = value;
      return true;
    }
    if (settings_.size() >= settings_max) return false;
    settings_.emplace_back(name, value);
    return true;
  }

  // Null when it is not reported.
  const std::string* find(std::string_view name) const noexcept {
    for (const auto& [known, value] : settings_) {
      if (known == name) return &value;
    }
    return nullptr;
  }

  const std::vector<std::pair<std::string, std::string>>& all() const noexcept { return settings_; }

  friend bool operator==(const ReportedSettings& a, const ReportedSettings& b) {
    return a.settings_.size() == b.settings_.size() &&
           std::ranges::all_of(a.settings_, [&](const auto& setting) {
             const std::string* const other = b.find(setting.first);
             return other && *other == setting.second;
           });
  }

 private:
  std::vector<std::pair<std::string, std::string>> settings_;  // In the order of the server.
};

}  // namespace meridian
