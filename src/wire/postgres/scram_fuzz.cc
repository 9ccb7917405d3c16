// Any messages of a hostile server, the first up to a line's end and the last behind it: no proof
// for a question outside of the limits, no belief without a signature.

#include "base/assert.h"
#include "wire/postgres/scram.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

using namespace meridian::postgres;

namespace {

constexpr std::string_view nonce = "abc";
constexpr ScramLimits limits{
    .iterations_min = 1, .iterations_max = 9, .nonce_bytes_max = 32, .salt_bytes_max = 32};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::size_t line = bytes.find('\n');
  const std::string_view first = bytes.substr(0, line);
  const std::string_view last =
      line == std::string_view::npos ? std::string_view() : bytes.substr(line + 1);

  auto password = ScramPassword::make(meridian::Secret("pencil"));
  ScramClient client(*password, {}, std::string(nonce), limits);
  MERIDIAN_ASSERT(!client.verify(last));
  const auto final = client.final(first);
  if (!final) return 0;
  MERIDIAN_ASSERT(final->starts_with("c=biws,r=abc"));
  MERIDIAN_ASSERT(final->size() < 128);
  // Nothing that the fuzzer makes up is HMAC-SHA-256 of a key that it does not have.
  MERIDIAN_ASSERT(!client.verify(last));
  return 0;
}
