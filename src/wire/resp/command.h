#pragma once
// A command of a Redis server as the server itself describes it, and the keys that a request
// touches according to that description.
//
// The description is that of COMMAND (redis.io/docs/reference/key-specs). Extraction is for
// deciding who may touch what, so it errs on one side only: it may name a key that the server would
// not touch, but when it says `all`, the server touches no other.

#include "wire/resp/enum_set.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::resp {

// Flags that no caller asks for (stale, skip_monitor, asking, ...) are left out.
enum class CommandFlag : std::uint8_t {
  write,
  readonly,
  denyoom,
  module,
  admin,
  pubsub,
  noscript,
  blocking,
  loading,
  fast,
  no_auth,
  no_multi,
  movablekeys,
  allow_busy,
};

// The categories of Redis's access lists ("@read").
enum class CommandCategory : std::uint8_t {
  keyspace,
  read,
  write,
  set,
  sortedset,
  list,
  hash,
  string,
  bitmap,
  hyperloglog,
  geo,
  stream,
  pubsub,
  admin,
  fast,
  slow,
  blocking,
  dangerous,
  connection,
  transaction,
  scripting,
};

// What happens to a key. The first four are about the stored object, the next four about what the
// user gets or changes; the last three qualify the description itself.
enum class KeyFlag : std::uint8_t {
  ro,
  rw,
  ow,
  rm,
  access,  // Tells the user about the value.
  update,
  insert,
  erase,           // Redis calls it "delete".
  not_key,         // A name in another space, such as that of channels.
  incomplete,      // The description does not find all keys.
  variable_flags,  // The other flags depend on the arguments; these are the most there can be.
};
using KeyFlags = EnumSet<KeyFlag>;

// One way to find keys among the arguments: where to begin, then which ones from there.
struct KeySpec {
  enum class Begin : std::uint8_t { index, keyword, unknown };
  enum class Find : std::uint8_t { range, keynum, unknown };

  KeyFlags flags;
  Begin begin = Begin::unknown;
  Find find = Find::unknown;
  std::int64_t index = 0;       // Begin::index.
  std::string keyword{};        // Begin::keyword, in lower case; the keys begin behind it.
  std::int64_t start_from = 0;  // The first argument that may be it; negative: from the end, back.
  std::int64_t last_key = 0;    // Find::range: from the first key; negative: from the end.
  std::int64_t step = 1;
  std::int64_t limit = 0;  // Find::range with last_key -1: only the first of as many equal parts.
  std::int64_t count_index = 0;  // Find::keynum: where the number of keys stands, from the begin.
  std::int64_t first_key = 0;    // Find::keynum: where the first key stands, from the begin.
};

struct KeyUse {
  std::uint32_t index = 0;  // Into the request's arguments.
  KeyFlags flags;

  // By the rules of Redis's own access lists. Asking whether a key exists is reading.
  bool reads() const noexcept;
  bool writes() const noexcept;
};

enum class KeysFound : std::uint8_t {
  all,
  some,     // The command may touch keys that its arguments do not show; who may run it needs a
            // right to the command itself.
  invalid,  // The server would answer with an error: a count that is none or too large.
};

struct Command {
  // Commands of which the server does not describe all keys, and we know them.
  enum class Rule : std::uint8_t { none, set, bitfield, sort };

  // Whether requests of several clients may take turns on one connection: only those that leave
  // nothing behind on it, and are answered at once and once. Unknown ground is `never`.
  enum class Sharing : std::uint8_t {
    never,
    unless_blocking,  // It blocks when the word BLOCK is among its arguments: XREAD.
    always,
  };

  std::string name;        // Lower case; that of a subcommand is "config|get".
  std::int64_t arity = 0;  // Arguments with the name(s); negative: at least.
  EnumSet<CommandFlag> flags;
  EnumSet<CommandCategory> categories;
  std::vector<KeySpec> key_specs{};
  Rule rule = Rule::none;
  Sharing sharing = Sharing::never;
  bool hides_keys = false;    // keys() can never be `all`.
  bool is_container = false;  // It is nothing without a subcommand.
  bool is_subcommand = false;

  bool accepts(std::size_t arguments_count) const noexcept;

  // See Sharing.
  bool may_share_connection(std::span<const std::string_view> arguments) const;

  // Puts the keys among `arguments`, which start with the command's name, into `found`, which is
  // emptied before. A key may be named twice. Requires accepts(arguments.size()).
  KeysFound keys(std::span<const std::string_view> arguments, std::vector<KeyUse>& found) const;
};

}  // namespace meridian::resp
