#pragma once
// One entry of the reply to COMMAND, as a Command and its subcommands.

#include "base/result.h"
#include "wire/resp/command.h"
#include "wire/resp/value.h"

#include <vector>

namespace meridian::resp {

// Appends the command, then its subcommands, to `commands`. Error: invalid.
Result<void> read_command(const Value& entry, std::vector<Command>& commands);

}  // namespace meridian::resp
