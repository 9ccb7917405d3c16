// Any stream of the feed's messages, each behind two bytes of length: no read outside of it, and
// tuples have as many columns as they say.

#include "base/assert.h"
#include "wire/postgres/pgoutput.h"
#include "wire/postgres/replication.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <variant>

using namespace meridian::postgres;

namespace {

std::size_t touch(const Tuple& tuple) {
  std::size_t sum = 0;
  std::size_t count = 0;
  for (const TupleColumn& column : tuple) {
    ++count;
    for (const char c : column.bytes)
      sum += static_cast<unsigned char>(c);
  }
  MERIDIAN_ASSERT(count == tuple.size());
  return sum;
}

void touch(const Change& change) {
  if (const auto* const insert = std::get_if<Insert>(&change.message)) (void)touch(insert->row);
  if (const auto* const update = std::get_if<Update>(&change.message)) {
    (void)touch(update->row);
    if (update->before) (void)touch(update->before->tuple);
  }
  if (const auto* const deletion = std::get_if<Delete>(&change.message))
    (void)touch(deletion->before.tuple);
  if (const auto* const truncate = std::get_if<Truncate>(&change.message)) {
    for (std::size_t i = 0; i < truncate->relations.size(); ++i)
      (void)truncate->relations[i];
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  (void)parse_replication_message(rest);
  PgoutputDecoder decoder;
  while (rest.size() >= 2) {
    const std::size_t length =
        std::min<std::size_t>(load_big_endian<std::uint16_t>(rest.data()), rest.size() - 2);
    const bool before = decoder.inside_stream_block();
    const auto change = decoder.decode(rest.substr(2, length));
    if (change) {
      touch(*change);
    } else {
      MERIDIAN_ASSERT(decoder.inside_stream_block() == before);
    }
    rest.remove_prefix(2 + length);
  }
  return 0;
}
