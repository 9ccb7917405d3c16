#pragma once
// The commands that views answer: which they are, and what a value looks like in each.

#include "cache/entry.h"
#include "cache/view.h"
#include "wire/resp/encoder.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace meridian {

enum class ViewCommand : std::uint8_t {
  get,
  mget,
  exists,
  strlen,
  type,
  ttl,
  pttl,
  hgetall,
  hget,
  hmget,
  hkeys,
  hvals,
  hlen,
  hexists,
  forget,  // DEL and UNLINK.
};

// By the command's name in lower case.
std::optional<ViewCommand> find_view_command(std::string_view name) noexcept;

// What the error for another command suggests.
inline constexpr std::string_view view_commands_text =
    "GET, MGET, EXISTS, STRLEN, TYPE, TTL, PTTL, HGETALL, HGET, HMGET, HKEYS, HVALS, HLEN, "
    "HEXISTS, DEL, UNLINK";

// One value to be shown: from the store or fresh from the timeline. Borrowed.
class ShownValue {
 public:
  explicit ShownValue(const Entry& entry) noexcept : entry_(&entry) {}
  explicit ShownValue(const ViewValue& value) noexcept : value_(&value) {}

  bool present() const noexcept { return entry_ ? entry_->present() : value_->present; }
  std::string_view json() const noexcept {
    return entry_ ? entry_->json() : std::string_view(value_->json);
  }
  std::size_t fields_count() const noexcept {
    return entry_ ? entry_->fields_count() : value_->fields.size();
  }
  template <class F>
  void for_each_field(F&& visit) const {
    if (entry_) {
      entry_->for_each_field(visit);
      return;
    }
    for (const auto& [name, text] : value_->fields) {
      if (!visit(std::string_view(name), std::string_view(text))) return;
    }
  }
  std::optional<std::string_view> field(std::string_view name) const;

 private:
  const Entry* entry_ = nullptr;
  const ViewValue* value_ = nullptr;
};

// Writes the reply of a command about one key. `fields` are the arguments behind the key. Requires
// a command of one key; EXISTS and forgetting are counts, and MGET an array, over several.
void write_view_reply(resp::ReplyWriter& writer,
                      ViewCommand command,
                      const ShownValue& value,
                      std::span<const std::string_view> fields);

}  // namespace meridian
