// Whatever the bytes, a key set keeps its bounds, and each of its keys is the same after writing
// and reading.

#include "base/assert.h"
#include "wire/jose/jwks.h"
#include "wire/json/reader.h"

#include <cstddef>
#include <cstdint>

namespace meridian::jose {

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto set = parse_jwks(text);
  if (!set) return 0;
  MERIDIAN_ASSERT(text.size() <= jwks_size_max);
  MERIDIAN_ASSERT(set->keys.size() + set->skipped.size() <= jwks_keys_max);
  for (const auto& key : set->keys) {
    MERIDIAN_ASSERT(set->find(key->kid()) == key);
    json::Writer writer;
    write_jwk(writer, *key);
    const auto again = parse_jwk(*json::parse(writer.take()));
    MERIDIAN_ASSERT(again && again->thumbprint() == key->thumbprint());
    MERIDIAN_ASSERT(again->algorithm() == key->algorithm());
    MERIDIAN_ASSERT(!key->verify("message", text.substr(0, 64)));
  }
  return 0;
}

}  // namespace meridian::jose
