// No bytes of an engine do harm, and a verdict does not depend on how they were split: once there
// is one, further bytes do not change it.

#include "base/assert.h"
#include "engines/engine_answers.h"

#include <cstddef>
#include <cstdint>

namespace {

using meridian::Result;

using Judge = std::optional<Result<void>> (*)(std::string_view bytes);

void check(Judge judge, std::string_view bytes) {
  const auto whole = judge(bytes);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto part = judge(bytes.substr(0, size));
    if (!part) continue;
    MERIDIAN_ASSERT(whole && whole->has_value() == part->has_value());
    MERIDIAN_ASSERT(*whole || whole->error().code() == meridian::Errc::unavailable);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  check(meridian::judge_postgres_answer, bytes);
  check(meridian::judge_redis_answer, bytes);
  check(meridian::judge_nats_answer, bytes);
  return 0;
}
