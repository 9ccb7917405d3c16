#pragma once
// The commands of a Redis server, from its own reply to COMMAND.
//
// Understands Redis 7 with subcommands and key specs, and Redis 6, where the positions of the first
// and last key are all there is. Immutable once read, so any thread may look things up.

#include "base/result.h"
#include "wire/resp/command.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace meridian::resp {

class CommandTable {
 public:
  static constexpr std::size_t commands_max = 8'192;  // Subcommands included; Redis 7 has 390.
  static constexpr std::size_t name_size_max = 64;

  // Knows no command.
  CommandTable() = default;

  // Reads a reply of either protocol version. What is described in a way that we do not know is
  // taken for its most dangerous meaning. Errors: invalid; unavailable with the server's words when
  // it answered an error.
  static Result<CommandTable> parse(std::string_view reply);

  // The command or subcommand that a request runs, in any case of letters. Null when the server
  // does not know it. A container alone ("CONFIG") is found, and accepts no such request. Requires
  // at least one argument.
  const Command* find(std::span<const std::string_view> arguments) const noexcept;

  // By name, "get" or "config|get", in any case of letters.
  const Command* find(std::string_view name) const noexcept;

  std::span<const Command> commands() const noexcept { return commands_; }

 private:
  Result<void> add(Command command);
  std::size_t slot_of(std::string_view folded) const noexcept;

  std::vector<Command> commands_;
  std::vector<std::uint32_t> slots_;  // Open addressing: an index into commands_ plus one, or 0.
};

}  // namespace meridian::resp
