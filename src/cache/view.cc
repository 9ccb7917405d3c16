#include "cache/view.h"

#include "base/escape.h"
#include "base/hash.h"

#include <algorithm>

namespace meridian {
namespace {

bool is_name_character(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

bool is_canonical_integer(std::string_view text) noexcept {
  if (text == "0") return true;
  if (text.starts_with('-')) text.remove_prefix(1);
  // 19 digits hold every bigint; what is in between and too large is refused by the database.
  if (text.empty() || text.size() > 19 || text.front() == '0') return false;
  return std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

bool is_canonical_uuid(std::string_view text) noexcept {
  if (text.size() != 36) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    const char c = text[i];
    const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    if (dash ? c != '-' : !hex) return false;
  }
  return true;
}

}  // namespace

Result<KeyPattern> KeyPattern::parse(std::string_view text) {
  const auto refused = [&](std::string_view why) {
    return fail(Errc::invalid, "key pattern " + quote(text) + ": " + std::string(why));
  };
  KeyPattern pattern;
  pattern.literals_.emplace_back();
  std::string_view rest = text;
  while (!rest.empty()) {
    if (rest.front() == '}') return refused("a } without a {");
    if (rest.front() != '{') {
      pattern.literals_.back() += rest.front();
      rest.remove_prefix(1);
      continue;
    }
    const std::size_t end = rest.find('}');
    if (end == std::string_view::npos) return refused("a { without a }");
    const std::string_view name = rest.substr(1, end - 1);
    if (name.empty() || !std::ranges::all_of(name, is_name_character)) {
      return refused("a part's name is made of letters, digits and _");
    }
    if (pattern.literals_.back().empty()) {
      return refused(pattern.names_.empty() ? "it must begin with text, not with a part"
                                            : "two parts need text between them");
    }
    if (std::ranges::find(pattern.names_, name) != pattern.names_.end()) {
      return refused("{" + std::string(name) + "} stands in it twice");
    }
    if (pattern.names_.size() == parts_max) {
      return refused("it has more than " + std::to_string(parts_max) + " parts");
    }
    pattern.names_.emplace_back(name);
    pattern.literals_.emplace_back();
    rest.remove_prefix(end + 1);
  }
  if (pattern.names_.empty()) return refused("it has no {part}");
  return pattern;
}

bool KeyPattern::match(std::string_view key, Parts& parts) const noexcept {
  if (!key.starts_with(literals_.front())) return false;
  key.remove_prefix(literals_.front().size());
  for (std::size_t i = 0; i < names_.size(); ++i) {
    const std::string& after = literals_[i + 1];
    const char next = after.empty() ? ':' : after.front();
    std::size_t size = 0;
    while (size < key.size() && key[size] != ':' && key[size] != next)
      ++size;
    if (size == 0 || !key.substr(size).starts_with(after)) return false;
    parts[i] = key.substr(0, size);
    key.remove_prefix(size + after.size());
  }
  return key.empty();
}

std::string KeyPattern::make_key(std::span<const std::string_view> parts) const {
  std::string key = literals_.front();
  for (std::size_t i = 0; i < names_.size(); ++i) {
    key += parts[i];
    key += literals_[i + 1];
  }
  return key;
}

std::string KeyPattern::to_string() const {
  std::string text = literals_.front();
  for (std::size_t i = 0; i < names_.size(); ++i) {
    text += '{' + names_[i] + '}' + literals_[i + 1];
  }
  return text;
}

bool is_canonical(PartType type, std::string_view part) noexcept {
  switch (type) {
    case PartType::integer:
      return is_canonical_integer(part);
    case PartType::uuid:
      return is_canonical_uuid(part);
    case PartType::text:
      return is_utf8(part) && !part.contains('\0');
    case PartType::other:
      return false;
  }
  return false;
}

SlotIndex dependency_slot(const Slots& slots,
                          const View& view,
                          std::size_t dependency_index,
                          std::span<const std::string_view> values) {
  // Sizes keep ("a", "bc") and ("ab", "c") apart.
  std::uint64_t hash = hash_bytes(view.name, dependency_index);
  for (const std::string_view value : values)
    hash = hash_bytes(value, hash + value.size());
  return slots.of_row(hash);
}

std::optional<DependencySlots> dependency_slots(const Slots& slots,
                                                const View& view,
                                                std::span<const std::string_view> parts) {
  DependencySlots found;
  found.slots[found.count++] = Slots::everything;
  found.slots[found.count++] = slots.of_view(view.index);
  for (std::size_t i = 0; i < view.dependencies.size(); ++i) {
    const ViewDependency& dependency = view.dependencies[i];
    if (!dependency.exact()) continue;  // Its changes come as changes of the view.
    KeyPattern::Parts values;
    std::size_t count = 0;
    for (const ViewDependency::Equality& equality : dependency.equalities) {
      if (!is_canonical(equality.type, parts[equality.part])) return std::nullopt;
      values[count++] = parts[equality.part];
    }
    found.slots[found.count++] = dependency_slot(slots, view, i, {values.data(), count});
  }
  return found;
}

}  // namespace meridian
