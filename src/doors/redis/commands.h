#pragma once
// What the door knows of single commands, beside Redis's own table.

#include "wire/resp/command.h"
#include "wire/resp/request_decoder.h"

#include <string>
#include <string_view>

namespace meridian {

// Commands without keys that any role with a way in may run: they tell nothing about others' data
// and change nothing but the visit itself. By the table's name.
bool is_free_command(std::string_view name) noexcept;

// SUBSCRIBE and its kin: their arguments are channels, judged like keys.
enum class ChannelUse : std::uint8_t { none, subscribe, subscribe_pattern, unsubscribe, publish };
ChannelUse channel_use(std::string_view name) noexcept;

// The request as RESP, whatever form it came in.
std::string to_request_bytes(const resp::Request& request);

}  // namespace meridian
