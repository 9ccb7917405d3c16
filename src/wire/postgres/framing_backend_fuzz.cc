// Any bytes that a server may send: see wire/postgres/framing_property.h. The first byte is the
// step.

#include "wire/postgres/framing_property.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  meridian::postgres::check_framing(meridian::postgres::Sender::backend, data, size);
  return 0;
}
