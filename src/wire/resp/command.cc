#include "wire/resp/command.h"

#include "wire/resp/protocol.h"

#include <algorithm>
#include <optional>

namespace meridian::resp {
namespace {

using Arguments = std::span<const std::string_view>;

// Where a spec's keys begin. Empty when the request does not have them.
struct Begin {
  std::optional<std::int64_t> index;
  bool ambiguous = false;
};

// The server's own search takes the first match, but some commands take the last one, or skip over
// a match that is the value of another option (XREADGROUP with a consumer named STREAMS). So with
// two matches nobody knows.
Begin find_keyword(const KeySpec& spec, Arguments arguments) {
  const auto count = static_cast<std::int64_t>(arguments.size());
  Begin begin;
  // Forwards from start_from, or backwards from as many before the end. The last argument has no
  // key behind it, the first is the command's name.
  const std::int64_t step = spec.start_from > 0 ? 1 : -1;
  std::int64_t i = spec.start_from > 0 ? spec.start_from : count + spec.start_from;
  for (; i > 0 && i < count; i += step) {
    if (!is_keyword(arguments[static_cast<std::size_t>(i)], spec.keyword)) continue;
    if (begin.index) {
      begin.ambiguous = true;
      break;
    }
    begin.index = i + 1;
  }
  return begin;
}

Begin find_begin(const KeySpec& spec, Arguments arguments) {
  if (spec.begin == KeySpec::Begin::keyword) return find_keyword(spec, arguments);
  return {.index = spec.index};
}

// Appends first, first + step, ... up to last.
void append_range(std::int64_t first,
                  std::int64_t last,
                  const KeySpec& spec,
                  std::vector<KeyUse>& found) {
  if (spec.flags.has(KeyFlag::not_key)) return;
  for (std::int64_t i = first; i <= last; i += spec.step)
    found.push_back({.index = static_cast<std::uint32_t>(i), .flags = spec.flags});
}

KeysFound find_range(const KeySpec& spec,
                     Arguments arguments,
                     std::int64_t first,
                     std::vector<KeyUse>& found) {
  const auto count = static_cast<std::int64_t>(arguments.size());
  std::int64_t last = first + spec.last_key;
  if (spec.last_key < 0) {
    last = spec.limit > 1 ? first + (count - first) / spec.limit + spec.last_key
                          : count + spec.last_key;
  }
  // Optional keys that were left out (PFMERGE with a destination alone), or an error's beginning.
  if (first >= count) return KeysFound::all;
  if (last >= count) return KeysFound::invalid;
  append_range(first, last, spec, found);
  return KeysFound::all;
}

KeysFound find_keynum(const KeySpec& spec,
                      Arguments arguments,
                      std::int64_t begin,
                      std::vector<KeyUse>& found) {
  const auto count = static_cast<std::int64_t>(arguments.size());
  const std::int64_t count_index = begin + spec.count_index;
  if (count_index >= count) return KeysFound::invalid;
  const std::optional<std::int64_t> keys_count =
      parse_integer(arguments[static_cast<std::size_t>(count_index)]);
  const std::int64_t first = begin + spec.first_key;
  if (!keys_count || *keys_count < 0 || *keys_count > count) return KeysFound::invalid;
  const std::int64_t last = first + (*keys_count - 1) * spec.step;
  if (last >= count) return KeysFound::invalid;
  append_range(first, last, spec, found);
  return KeysFound::all;
}

KeysFound find_keys(const KeySpec& spec, Arguments arguments, std::vector<KeyUse>& found) {
  if (spec.begin == KeySpec::Begin::unknown || spec.find == KeySpec::Find::unknown) {
    return KeysFound::some;
  }
  const Begin begin = find_begin(spec, arguments);
  if (!begin.index) return KeysFound::all;
  const KeysFound outcome = spec.find == KeySpec::Find::range
                                ? find_range(spec, arguments, *begin.index, found)
                                : find_keynum(spec, arguments, *begin.index, found);
  if (outcome == KeysFound::invalid) return outcome;
  return begin.ambiguous || spec.flags.has(KeyFlag::incomplete) ? KeysFound::some : outcome;
}

bool any_keyword(Arguments arguments, std::string_view word) {
  return std::ranges::any_of(arguments,
                             [&](std::string_view argument) { return is_keyword(argument, word); });
}

// SET key value [GET] ...: without GET the old value does not matter.
KeysFound find_keys_of_set(Arguments arguments, std::vector<KeyUse>& found) {
  const bool gets = arguments.size() > 3 && any_keyword(arguments.subspan(3), "get");
  found.push_back({.index = 1,
                   .flags = gets ? KeyFlags{KeyFlag::rw, KeyFlag::access, KeyFlag::update}
                                 : KeyFlags{KeyFlag::ow, KeyFlag::update}});
  return KeysFound::all;
}

// BITFIELD key [GET type offset] [SET ...] [INCRBY ...]: with GET alone it only reads.
KeysFound find_keys_of_bitfield(Arguments arguments, std::vector<KeyUse>& found) {
  constexpr std::size_t words_of_get = 3;
  Arguments rest = arguments.subspan(2);
  while (rest.size() >= words_of_get && is_keyword(rest.front(), "get"))
    rest = rest.subspan(words_of_get);
  found.push_back({.index = 1,
                   .flags = rest.empty()
                                ? KeyFlags{KeyFlag::ro, KeyFlag::access}
                                : KeyFlags{KeyFlag::rw, KeyFlag::access, KeyFlag::update}});
  return KeysFound::all;
}

// SORT key [BY pattern] [GET pattern ...] [STORE destination] ...: a pattern with an asterisk reads
// keys whose names are data. Every word behind a STORE counts as a destination, though one of them
// may be a pattern.
KeysFound find_keys_of_sort(Arguments arguments, std::vector<KeyUse>& found) {
  found.push_back({.index = 1, .flags = {KeyFlag::ro, KeyFlag::access}});
  KeysFound outcome = KeysFound::all;
  for (std::size_t i = 2; i + 1 < arguments.size(); ++i) {
    if (is_keyword(arguments[i], "store")) {
      found.push_back(
          {.index = static_cast<std::uint32_t>(i + 1), .flags = {KeyFlag::ow, KeyFlag::update}});
    }
    const bool pattern = is_keyword(arguments[i], "by") || is_keyword(arguments[i], "get");
    if (pattern && arguments[i + 1].contains('*')) outcome = KeysFound::some;
  }
  return outcome;
}

}  // namespace

bool KeyUse::reads() const noexcept {
  return flags.has(KeyFlag::access) || !writes();
}

bool KeyUse::writes() const noexcept {
  if (flags.has_any({KeyFlag::update, KeyFlag::insert, KeyFlag::erase})) return true;
  return !flags.has(KeyFlag::access) && flags.has_any({KeyFlag::rw, KeyFlag::ow, KeyFlag::rm});
}

bool Command::accepts(std::size_t arguments_count) const noexcept {
  const auto count = static_cast<std::int64_t>(arguments_count);
  return arity >= 0 ? count == arity : count >= -arity;
}

bool Command::may_share_connection(Arguments arguments) const {
  switch (sharing) {
    case Sharing::never:
      return false;
    case Sharing::unless_blocking:
      return !any_keyword(arguments, "block");
    case Sharing::always:
      return true;
  }
  return false;
}

KeysFound Command::keys(Arguments arguments, std::vector<KeyUse>& found) const {
  found.clear();
  KeysFound outcome = KeysFound::all;
  switch (rule) {
    case Rule::none:
      for (const KeySpec& spec : key_specs) {
        const KeysFound of_spec = find_keys(spec, arguments, found);
        if (of_spec == KeysFound::invalid) return of_spec;
        if (of_spec == KeysFound::some) outcome = of_spec;
      }
      break;
    case Rule::set:
      outcome = find_keys_of_set(arguments, found);
      break;
    case Rule::bitfield:
      outcome = find_keys_of_bitfield(arguments, found);
      break;
    case Rule::sort:
      outcome = find_keys_of_sort(arguments, found);
      break;
  }
  return hides_keys ? KeysFound::some : outcome;
}

}  // namespace meridian::resp
