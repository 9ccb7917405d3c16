#include "wire/resp/command_table.h"

#include "base/escape.h"
#include "base/hash.h"
#include "wire/resp/command_reader.h"
#include "wire/resp/value.h"

#include <array>
#include <bit>

namespace meridian::resp {
namespace {

// A name in lower case, in a place that needs no allocation. Empty when it is longer than any name.
class FoldedName {
 public:
  explicit FoldedName(std::string_view name) noexcept { append(name); }
  FoldedName(std::string_view container, std::string_view subcommand) noexcept {
    append(container);
    append("|");
    append(subcommand);
  }

  std::string_view text() const noexcept {
    return too_long_ ? std::string_view() : std::string_view(letters_.data(), size_);
  }

 private:
  void append(std::string_view text) noexcept {
    if (text.size() > letters_.size() - size_) {
      too_long_ = true;
      return;
    }
    for (const char c : text)
      letters_[size_++] = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  }

  std::array<char, CommandTable::name_size_max> letters_;
  std::size_t size_ = 0;
  bool too_long_ = false;
};

}  // namespace

Result<CommandTable> CommandTable::parse(std::string_view reply) {
  MERIDIAN_TRY(const Value value, parse_value(reply));
  if (value.is_error()) {
    return fail(Errc::unavailable, "the Redis server refused COMMAND: " + escape(value.text));
  }
  if (value.type != Value::Type::array) {
    return fail(Errc::invalid, "the reply to COMMAND is no array");
  }
  std::vector<Command> commands;
  for (const Value& entry : value.items) {
    MERIDIAN_CHECK(read_command(entry, commands));
  }
  if (commands.size() > commands_max) {
    return fail(Errc::invalid,
                "the Redis server has " + std::to_string(commands.size()) +
                    " commands, more than commands_max=" + std::to_string(commands_max));
  }
  CommandTable table;
  table.commands_.reserve(commands.size());
  table.slots_.resize(std::bit_ceil(commands.size() * 2 + 1));
  for (Command& command : commands) {
    MERIDIAN_CHECK(table.add(std::move(command)));
  }
  return table;
}

Result<void> CommandTable::add(Command command) {
  const std::size_t slot = slot_of(command.name);
  if (slots_[slot] != 0) {
    return fail(Errc::invalid, "the Redis server has two commands " + quote(command.name));
  }
  commands_.push_back(std::move(command));
  slots_[slot] = static_cast<std::uint32_t>(commands_.size());
  return {};
}

// The slot that holds this name, or the empty one where it belongs. There always is an empty one.
std::size_t CommandTable::slot_of(std::string_view folded) const noexcept {
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t slot = hash_bytes(folded) & mask;; slot = (slot + 1) & mask) {
    const std::uint32_t place = slots_[slot];
    if (place == 0 || commands_[place - 1].name == folded) return slot;
  }
}

const Command* CommandTable::find(std::string_view name) const noexcept {
  if (slots_.empty()) return nullptr;
  const FoldedName folded(name);
  const std::uint32_t place = slots_[slot_of(folded.text())];
  return place == 0 ? nullptr : &commands_[place - 1];
}

const Command* CommandTable::find(std::span<const std::string_view> arguments) const noexcept {
  const Command* const command = find(arguments.front());
  if (!command || command->is_subcommand) return nullptr;
  if (!command->is_container || arguments.size() == 1) return command;
  const FoldedName folded(arguments[0], arguments[1]);
  const std::uint32_t place = slots_[slot_of(folded.text())];
  return place == 0 ? nullptr : &commands_[place - 1];
}

}  // namespace meridian::resp
