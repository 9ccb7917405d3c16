// A server's description of its commands, and then a client's requests: no description leads
// outside of a request's arguments, and looking up does not depend on the case of letters.

#include "base/assert.h"
#include "wire/resp/command_table.h"
#include "wire/resp/reply_framer.h"
#include "wire/resp/request_decoder.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace meridian;

constexpr std::size_t found_max = 100'000;  // Far above what these small inputs can ask for.

void look_up(const resp::CommandTable& table, std::span<const std::string_view> arguments) {
  const resp::Command* const command = table.find(arguments);
  std::vector<std::string> shouted(arguments.begin(), arguments.end());
  for (std::string& word : shouted) {
    for (char& c : word) {
      if (c >= 'a' && c <= 'z') c = static_cast<char>(c & ~0x20);
    }
  }
  const std::vector<std::string_view> words(shouted.begin(), shouted.end());
  MERIDIAN_ASSERT(table.find(words) == command);
  if (!command) return;
  (void)command->may_share_connection(arguments);
  if (!command->accepts(arguments.size())) return;
  std::vector<resp::KeyUse> found;
  const resp::KeysFound outcome = command->keys(arguments, found);
  MERIDIAN_ASSERT(found.size() <= found_max);
  if (command->hides_keys) MERIDIAN_ASSERT(outcome != resp::KeysFound::all);
  for (const resp::KeyUse& use : found) {
    MERIDIAN_ASSERT(use.index > 0 && use.index < arguments.size());
    MERIDIAN_ASSERT(use.reads() || use.writes());
  }
}

}  // namespace

// A reply to COMMAND, then requests.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (bytes.empty()) return 0;
  resp::ReplyFramer framer;
  const auto reply = framer.next(bytes);
  if (!reply || !reply->last) return 0;
  const auto table = resp::CommandTable::parse(reply->bytes);
  if (!table) return 0;
  for (const resp::Command& command : table->commands())
    MERIDIAN_ASSERT(table->find(command.name) == &command);
  resp::RequestDecoder decoder;
  decoder.set_authenticated(true);
  for (;;) {
    const auto request = decoder.next(bytes);
    if (!request || !*request) return 0;
    look_up(*table, (*request)->arguments);
  }
}
