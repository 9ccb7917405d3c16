// The fields of a record of any kind, as any bytes: decoding never reads beyond them, what was
// decoded is written and read back the same, and every way to show it works.

#include "base/assert.h"
#include "gate/trail/codec.h"
#include "gate/trail/export.h"
#include "gate/trail/filter.h"
#include "gate/trail/visits.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace meridian::trail {
namespace {

// More than any record needs whose lists and texts are within their bounds.
constexpr std::size_t fields_size_max = std::size_t{128} << 10;

void show(Bytes linked) {
  RecordView record;
  record.header = parse_record_header(linked.data() + hash_size);
  record.linked = linked;
  Visits visits;
  MERIDIAN_ASSERT(visits.observe(record));
  const VisitFacts facts{.door = "redis"};
  const Filter filter{.visit = VisitId(1), .subject = "s", .role = "r", .door = "d", .key = "k"};
  (void)filter.passes(record, &facts);
  const Filter key_filter{.key = "k"};
  (void)key_filter.passes(record, nullptr);
  const Entry entry{.node = "n1", .shard = 0, .segment = 1, .run = 0, .record = record};
  MERIDIAN_ASSERT(!to_text_line(entry).empty());
  MERIDIAN_ASSERT(is_utf8(to_json_line(entry)));
  OtlpBatch batch;
  batch.add(entry);
  MERIDIAN_ASSERT(is_utf8(batch.take()));
}

// Into one of two buffers, which the next encoding of that number overwrites.
template <class Record>
Bytes encode(const Record& record, std::size_t number) {
  static std::vector<std::uint8_t> buffers[2]{std::vector<std::uint8_t>(fields_size_max),
                                              std::vector<std::uint8_t>(fields_size_max)};
  std::vector<std::uint8_t>& buffer = buffers[number];
  FieldWriter writer(buffer.data(), buffer.data() + buffer.size());
  record.fields(writer);
  return Bytes(buffer.data(), writer.position());
}

void fuzz(const std::uint8_t* data, std::size_t size) {
  if (size < 1 || size > record_size_max) return;
  const auto kind = static_cast<RecordKind>(data[0]);
  std::vector<std::uint8_t> linked(hash_size + record_header_size);
  linked[hash_size + 4] = data[0];
  linked.insert(linked.end(), data + 1, data + size);
  show(linked);

  with_record_of(kind, [&](auto empty) {
    using Record = decltype(empty);
    const auto first = decode<Record>({data + 1, size - 1});
    if (!first) return;
    const Bytes bytes = encode(*first, 0);
    const auto second = decode<Record>(bytes);
    MERIDIAN_ASSERT(second);
    const Bytes again = encode(*second, 1);
    MERIDIAN_ASSERT(std::ranges::equal(again, bytes));
  });
}

}  // namespace
}  // namespace meridian::trail

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {  // NOLINT
  meridian::trail::fuzz(data, size);
  return 0;
}
