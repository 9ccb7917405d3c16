#include "app/config/problems.h"

#include "base/escape.h"

#include <algorithm>
#include <utility>

namespace meridian::config {

std::string path_of_key(std::string_view parent, std::string_view key) {
  const bool plain = !key.empty() && std::ranges::all_of(key, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
  std::string path(parent);
  if (!path.empty()) path += '.';
  path += plain ? escape(key, 64) : quote(key, 64);
  return path;
}

std::string path_of_item(std::string_view parent, std::size_t index) {
  return std::string(parent) + '[' + std::to_string(index) + ']';
}

void Problems::add(Place place, std::string_view path, std::string text) {
  ++count_;
  if (kept_.size() == kept_max) return;
  const auto after = std::ranges::upper_bound(kept_, place, {}, &Problem::place);
  kept_.insert(after, {.place = place, .path = std::string(path), .text = std::move(text)});
}

bool Problems::has(std::string_view path) const noexcept {
  return std::ranges::find(kept_, path, &Problem::path) != kept_.end();
}

std::string Problems::to_text(std::string_view file) const {
  std::string text;
  for (const Problem& problem : kept_) {
    if (!text.empty()) text += '\n';
    text += file;
    if (problem.place.line > 0) {
      text += ':' + std::to_string(problem.place.line) + ':' + std::to_string(problem.place.column);
    }
    text += ": ";
    if (!problem.path.empty()) text += problem.path + ": ";
    text += problem.text;
  }
  if (count_ > kept_.size()) {
    text += "\nand " + std::to_string(count_ - kept_.size()) + " more";
  }
  return text;
}

}  // namespace meridian::config
