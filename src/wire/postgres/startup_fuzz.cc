// Any first packet: what is taken is written again to the same bytes, and `options` to the same
// settings.

#include "base/assert.h"
#include "wire/postgres/frontend_writer.h"
#include "wire/postgres/options.h"
#include "wire/postgres/startup.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

using namespace meridian::postgres;

namespace {

void check_options(std::string_view text) {
  const auto settings = parse_options(text);
  if (!settings) return;
  std::string again;
  for (const Setting& setting : *settings) {
    MERIDIAN_ASSERT(!setting.name.empty());
    again += "-c " + setting.name + "=";
    for (const char c : setting.value) {
      again += '\\';
      again += c;
    }
    again += ' ';
  }
  if (again.size() <= options_bytes_max) MERIDIAN_ASSERT(*parse_options(again) == *settings);
}

void check_startup(std::string_view bytes, const StartupMessage& startup) {
  MERIDIAN_ASSERT(recognise(bytes) == Opening::startup);
  MERIDIAN_ASSERT(!startup.user().empty() && !startup.database().empty());
  std::string again;
  append_startup(again, startup.version, startup.parameters);
  MERIDIAN_ASSERT(again == bytes);
  (void)negotiate(startup);
  if (const Parameter* const options = startup.find("options")) check_options(options->value);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  check_options(bytes);
  const Opening opening = recognise(bytes);
  const auto packet = parse_first_packet(bytes);
  if (!packet) return 0;
  if (const auto* const startup = std::get_if<StartupMessage>(&*packet)) {
    check_startup(bytes, *startup);
  } else if (const auto* const cancel = std::get_if<CancelRequest>(&*packet)) {
    MERIDIAN_ASSERT(opening == Opening::cancel);
    std::string again;
    append_cancel_request(again, cancel->process_id, cancel->key);
    MERIDIAN_ASSERT(again == bytes);
  } else {
    MERIDIAN_ASSERT(opening == Opening::ssl_request || opening == Opening::gss_request);
    MERIDIAN_ASSERT(size == 8);
  }
  return 0;
}
