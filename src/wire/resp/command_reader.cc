#include "wire/resp/command_reader.h"

#include "base/escape.h"
#include "wire/resp/command_table.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

namespace meridian::resp {
namespace {

// An entry's fields (redis.io/commands/command). Redis 6 ends behind the categories.
enum Field : std::size_t {
  name_field,
  arity_field,
  flags_field,
  first_key_field,
  last_key_field,
  step_field,
  categories_field,
  tips_field,
  key_specs_field,
  subcommands_field,
};
constexpr std::size_t fields_min = step_field + 1;

// Positions and counts of arguments; anything beyond is no description of a real command.
constexpr std::int64_t position_max = 1 << 20;
constexpr std::size_t key_specs_max = 64;

template <class E>
using Names = std::span<const std::pair<std::string_view, E>>;

constexpr std::array command_flags = std::to_array<std::pair<std::string_view, CommandFlag>>({
    {"write", CommandFlag::write},
    {"readonly", CommandFlag::readonly},
    {"denyoom", CommandFlag::denyoom},
    {"module", CommandFlag::module},
    {"admin", CommandFlag::admin},
    {"pubsub", CommandFlag::pubsub},
    {"noscript", CommandFlag::noscript},
    {"blocking", CommandFlag::blocking},
    {"loading", CommandFlag::loading},
    {"fast", CommandFlag::fast},
    {"no_auth", CommandFlag::no_auth},
    {"no_multi", CommandFlag::no_multi},
    {"movablekeys", CommandFlag::movablekeys},
    {"allow_busy", CommandFlag::allow_busy},
});

constexpr std::array categories = std::to_array<std::pair<std::string_view, CommandCategory>>({
    {"@keyspace", CommandCategory::keyspace},
    {"@read", CommandCategory::read},
    {"@write", CommandCategory::write},
    {"@set", CommandCategory::set},
    {"@sortedset", CommandCategory::sortedset},
    {"@list", CommandCategory::list},
    {"@hash", CommandCategory::hash},
    {"@string", CommandCategory::string},
    {"@bitmap", CommandCategory::bitmap},
    {"@hyperloglog", CommandCategory::hyperloglog},
    {"@geo", CommandCategory::geo},
    {"@stream", CommandCategory::stream},
    {"@pubsub", CommandCategory::pubsub},
    {"@admin", CommandCategory::admin},
    {"@fast", CommandCategory::fast},
    {"@slow", CommandCategory::slow},
    {"@blocking", CommandCategory::blocking},
    {"@dangerous", CommandCategory::dangerous},
    {"@connection", CommandCategory::connection},
    {"@transaction", CommandCategory::transaction},
    {"@scripting", CommandCategory::scripting},
});

constexpr std::array key_flags = std::to_array<std::pair<std::string_view, KeyFlag>>({
    {"RO", KeyFlag::ro},
    {"RW", KeyFlag::rw},
    {"OW", KeyFlag::ow},
    {"RM", KeyFlag::rm},
    {"access", KeyFlag::access},
    {"update", KeyFlag::update},
    {"insert", KeyFlag::insert},
    {"delete", KeyFlag::erase},
    {"not_key", KeyFlag::not_key},
    {"incomplete", KeyFlag::incomplete},
    {"variable_flags", KeyFlag::variable_flags},
});

constexpr KeyFlags everything{
    KeyFlag::rw, KeyFlag::access, KeyFlag::update, KeyFlag::insert, KeyFlag::erase};

std::unexpected<Error> malformed(std::string_view name, std::string_view what) {
  return fail(
      Errc::invalid,
      "the server's description of the command " + quote(name) + " has " + std::string(what));
}

std::string to_lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
  }
  return lower;
}

// Names that are not listed say nothing that we act on.
template <class E, std::size_t count>
EnumSet<E> read_names(const Value& value,
                      const std::array<std::pair<std::string_view, E>, count>& names) {
  EnumSet<E> set;
  for (const Value& item : value.items) {
    for (const auto& [name, enumerator] : names) {
      if (item.is_text() && item.text == name) set.add(enumerator);
    }
  }
  return set;
}

// A position that is an integer within bounds.
std::optional<std::int64_t> read_position(const Value* value, std::int64_t at_least) {
  if (!value || value->type != Value::Type::integer) return std::nullopt;
  if (value->integer < at_least || value->integer > position_max) return std::nullopt;
  return value->integer;
}

// The "type" and the "spec" of a begin_search or find_keys.
struct Search {
  std::string_view type;
  const Value& parameters;
};

Search read_search(const Value& spec, std::string_view name) {
  static const Value none;
  const Value* const found = spec.find(name);
  const Value* const type = found ? found->find("type") : nullptr;
  const Value* const parameters = found ? found->find("spec") : nullptr;
  if (!type || !type->is_text() || !parameters) return {.type = "unknown", .parameters = none};
  return {.type = type->text, .parameters = *parameters};
}

void read_begin(const Value& value, KeySpec& spec) {
  const Search search = read_search(value, "begin_search");
  if (search.type == "index") {
    const auto index = read_position(search.parameters.find("index"), 1);
    if (!index) return;
    spec.index = *index;
    spec.begin = KeySpec::Begin::index;
  } else if (search.type == "keyword") {
    const Value* const keyword = search.parameters.find("keyword");
    const auto start_from = read_position(search.parameters.find("startfrom"), -position_max);
    if (!keyword || !keyword->is_text() || keyword->text.empty()) return;
    if (!start_from || *start_from == 0) return;
    spec.keyword = to_lower(keyword->text);
    spec.start_from = *start_from;
    spec.begin = KeySpec::Begin::keyword;
  }
}

void read_find(const Value& value, KeySpec& spec) {
  const Search search = read_search(value, "find_keys");
  const auto step = read_position(search.parameters.find("keystep"), 1);
  if (!step) return;
  spec.step = *step;
  if (search.type == "range") {
    const auto last_key = read_position(search.parameters.find("lastkey"), -position_max);
    const auto limit = read_position(search.parameters.find("limit"), 0);
    if (!last_key || !limit) return;
    spec.last_key = *last_key;
    spec.limit = *limit;
    spec.find = KeySpec::Find::range;
  } else if (search.type == "keynum") {
    const auto count_index = read_position(search.parameters.find("keynumidx"), 0);
    const auto first_key = read_position(search.parameters.find("firstkey"), 0);
    if (!count_index || !first_key) return;
    spec.count_index = *count_index;
    spec.first_key = *first_key;
    spec.find = KeySpec::Find::keynum;
  }
}

KeySpec read_key_spec(const Value& value) {
  KeySpec spec;
  if (const Value* const flags = value.find("flags")) spec.flags = read_names(*flags, key_flags);
  const bool described =
      spec.flags.has_any({KeyFlag::ro, KeyFlag::rw, KeyFlag::ow, KeyFlag::rm, KeyFlag::not_key});
  if (!described) spec.flags = everything;
  read_begin(value, spec);
  read_find(value, spec);
  return spec;
}

// Redis 6: the first and the last key's index, and what happens to them is only known for commands
// that read.
Result<void> read_key_positions(const Value& entry, Command& command) {
  const auto first = read_position(&entry.items[first_key_field], 0);
  const auto last = read_position(&entry.items[last_key_field], -position_max);
  const auto step = read_position(&entry.items[step_field], 0);
  if (!first || !last || !step) return malformed(command.name, "key positions that are none");
  if (*first == 0) return {};
  KeySpec spec;
  spec.flags = command.flags.has(CommandFlag::readonly) ? KeyFlags{KeyFlag::ro, KeyFlag::access}
                                                        : everything;
  spec.begin = KeySpec::Begin::index;
  spec.index = *first;
  spec.find = KeySpec::Find::range;
  spec.last_key = *last >= 0 ? *last - *first : *last;
  spec.step = std::max<std::int64_t>(*step, 1);
  if (spec.last_key < 0 && *last >= 0)
    return malformed(command.name, "a last key before the first");
  command.key_specs.push_back(std::move(spec));
  return {};
}

bool has_key_specs(const Value& entry) {
  return entry.items.size() > key_specs_field;
}

Result<void> read_key_specs(const Value& entry, Command& command) {
  if (!has_key_specs(entry)) return read_key_positions(entry, command);
  const Value& specs = entry.items[key_specs_field];
  if (specs.items.size() > key_specs_max) return malformed(command.name, "too many key specs");
  for (const Value& spec : specs.items)
    command.key_specs.push_back(read_key_spec(spec));
  return {};
}

// What the server leaves open and we know from the command's documentation.
Command::Rule rule_for(const Command& command, bool described) {
  const bool open = std::ranges::any_of(command.key_specs, [](const KeySpec& spec) {
    return spec.flags.has(KeyFlag::variable_flags) || spec.begin == KeySpec::Begin::unknown;
  });
  if (described && !open) return Command::Rule::none;
  if (command.arity > -2 && command.arity < 2) return Command::Rule::none;
  if (command.name == "set") return Command::Rule::set;
  if (command.name == "bitfield") return Command::Rule::bitfield;
  if (command.name == "sort" || command.name == "sort_ro") return Command::Rule::sort;
  return Command::Rule::none;
}

// Scripts may touch any key, and so may what acts on the keyspace or the server as a whole. Modules
// find movable keys by code of their own.
bool hides_keys(const Command& command, bool described) {
  using enum CommandCategory;
  const bool movable =
      command.flags.has(CommandFlag::movablekeys) && command.rule == Command::Rule::none;
  if (movable && (!described || command.flags.has(CommandFlag::module))) return true;
  if (command.categories.has(scripting)) return true;
  if (!command.key_specs.empty()) return false;
  return movable || command.categories.has_any({keyspace, read, write, admin, dangerous}) ||
         command.flags.has_any({CommandFlag::write, CommandFlag::readonly, CommandFlag::admin});
}

Command::Sharing sharing_of(const Command& command) {
  using enum CommandCategory;
  using enum Command::Sharing;
  // They answer and change nothing, whatever their neighbours in @connection and @pubsub do.
  constexpr std::array<std::string_view, 4> harmless{"ping", "echo", "publish", "spublish"};
  if (std::ranges::find(harmless, command.name) != harmless.end()) return always;
  if (command.name.starts_with("command") || command.name.starts_with("pubsub|")) return always;
  if (command.categories.empty() || command.is_container) return never;
  if (command.categories.has_any({connection, transaction, pubsub, admin})) return never;
  if (command.flags.has_any({CommandFlag::admin, CommandFlag::pubsub, CommandFlag::no_auth})) {
    return never;
  }
  // WAIT and its kind concern what the same connection wrote before.
  if (command.name.starts_with("wait") || command.name == "script|debug") return never;
  if (!command.flags.has(CommandFlag::blocking)) return always;
  return command.name == "xread" || command.name == "xreadgroup" ? unless_blocking : never;
}

}  // namespace

Result<void> read_command(const Value& entry, std::vector<Command>& commands) {
  if (entry.items.size() < fields_min || !entry.items[name_field].is_text()) {
    return malformed("", "fewer fields than it should");
  }
  Command command;
  command.name = to_lower(entry.items[name_field].text);
  if (command.name.empty() || command.name.size() > CommandTable::name_size_max) {
    return malformed(command.name, "a name that is none");
  }
  const auto arity = read_position(&entry.items[arity_field], -position_max);
  if (!arity) return malformed(command.name, "an arity that is none");
  command.arity = *arity;
  command.flags = read_names(entry.items[flags_field], command_flags);
  if (entry.items.size() > categories_field) {
    command.categories = read_names(entry.items[categories_field], categories);
  }
  MERIDIAN_CHECK(read_key_specs(entry, command));
  command.rule = rule_for(command, has_key_specs(entry));
  command.is_subcommand = command.name.contains('|');
  command.is_container =
      entry.items.size() > subcommands_field && !entry.items[subcommands_field].items.empty();
  command.hides_keys = hides_keys(command, has_key_specs(entry));
  command.sharing = sharing_of(command);
  if (command.is_container && command.is_subcommand) {
    return malformed(command.name, "subcommands of a subcommand");
  }
  commands.push_back(std::move(command));
  if (!commands.back().is_container) return {};
  for (const Value& subcommand : entry.items[subcommands_field].items) {
    MERIDIAN_CHECK(read_command(subcommand, commands));
  }
  return {};
}

}  // namespace meridian::resp
