#pragma once
// A view: a read-through, coherent cache key such as "order:{id}", defined by a query.

#include "base/result.h"
#include "cache/slots.h"
#include "timeline/reader.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace meridian {

// "order:{id}:{line}": literal text and named parts in turn. A part is one or more characters, none
// of them ':' nor the one that follows the part in the pattern, so a key is read in one way alone
// (app/config/key_pattern.h decides by the same rule whether patterns overlap).
class KeyPattern {
 public:
  static constexpr std::size_t parts_max = 8;
  using Parts = std::array<std::string_view, parts_max>;

  // Errors: invalid, when it does not begin with a literal, when two parts touch, when a name
  // repeats or a brace is open.
  static Result<KeyPattern> parse(std::string_view text);

  // The parts of a key, borrowed from it; nothing when the key is none of this pattern's.
  bool match(std::string_view key, Parts& parts) const noexcept;

  const std::string& prefix() const noexcept { return literals_.front(); }
  const std::vector<std::string>& names() const noexcept { return names_; }

  // The key with these parts.
  std::string make_key(std::span<const std::string_view> parts) const;
  std::string to_string() const;

 private:
  std::vector<std::string> literals_;  // One more than names: before each part, and after the last.
  std::vector<std::string> names_;
};

// How a part's text must look so that equal values have equal texts.
enum class PartType : std::uint8_t { other, integer, uuid, text };

bool is_canonical(PartType type, std::string_view part) noexcept;

// A table in the view's query. Where each of its rows that counts has known columns equal to parts
// of the key, a changed row invalidates one key; else it invalidates the view as a whole.
struct ViewDependency {
  struct Equality {
    std::string column;
    std::size_t part = 0;  // Index into the key's parts.
    PartType type = PartType::other;
  };

  std::string schema;
  std::string table;
  std::vector<Equality> equalities;  // Empty: the view as a whole.
  std::string reason;                // Why it is not exact, for `meridian views explain`.

  bool exact() const noexcept { return !equalities.empty(); }
};

// What the configuration says, and what registration found out. Immutable once registered.
struct View : std::enable_shared_from_this<View> {
  std::string name;
  KeyPattern pattern;
  std::string query;  // As configured, with {part}s.
  // What fills it: the row as JSON in the first column, then its columns as text.
  std::shared_ptr<const ReadQuery> read;
  std::size_t index = 0;         // Its place among the views: decides its slot.
  std::uint64_t generation = 0;  // Of the set that it belongs to.

  std::vector<ViewDependency> dependencies;
  std::vector<std::string> columns;
  std::string uncacheable;  // Why it may not be cached; empty when it may.
};

// What a view's query gave for one key. Immutable, shared by those who wait for it.
struct ViewValue {
  bool present = false;  // No row: the key does not exist, which is worth remembering too.
  std::string json;      // The row as a JSON object.
  std::vector<std::pair<std::string, std::string>> fields;  // Columns that are not NULL, as text.
};

// One key of a view, taken apart. Borrows the key's text and the set's view.
struct ViewKey {
  const View* view = nullptr;
  std::string_view text;
  KeyPattern::Parts parts{};
  std::uint64_t hash = 0;

  std::span<const std::string_view> part_list() const noexcept {
    return {parts.data(), view->pattern.names().size()};
  }
};

// The slots of everything that a key of the view depends on. Nothing when a part is not canonical:
// then a changed row could not be matched with the key, and its value may not be kept.
struct DependencySlots {
  std::size_t count = 0;
  std::array<SlotIndex, 8> slots{};
  std::span<const SlotIndex> span() const noexcept { return {slots.data(), count}; }
};
std::optional<DependencySlots> dependency_slots(const Slots& slots,
                                                const View& view,
                                                std::span<const std::string_view> parts);

// The slot of one dependency for these values of its equalities, in their order.
SlotIndex dependency_slot(const Slots& slots,
                          const View& view,
                          std::size_t dependency_index,
                          std::span<const std::string_view> values);

}  // namespace meridian
