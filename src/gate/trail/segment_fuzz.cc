// A segment of any bytes: reading, verifying, tracing and recovering from it never crash, agree
// with one another, and recovery leaves something that the next start accepts.
//
// The first byte says what is done to the rest. Bit 0: the hashes of header and records are made to
// hold, because no fuzzer guesses one. Bit 1: the file is followed by zeros, as one that was being
// written.

#include "base/assert.h"
#include "gate/trail/chain.h"
#include "gate/trail/export.h"
#include "gate/trail/recovery.h"
#include "gate/trail/trace.h"
#include "gate/trail/trail_reader.h"
#include "gate/trail/verify.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <unistd.h>
#include <vector>

namespace meridian::trail {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t input_size_max = std::size_t{64} << 10;
constexpr std::size_t room_size = std::size_t{48} << 10;

const fs::path& folder() {
  static const fs::path path = [] {
    const bool memory = ::access("/dev/shm", W_OK) == 0;
    const fs::path made = (memory ? fs::path("/dev/shm") : fs::temp_directory_path()) /
                          ("segment-fuzz-" + std::to_string(::getpid()));
    fs::create_directories(made / "n1");
    std::atexit([] {
      std::error_code error;
      fs::remove_all(folder(), error);
    });
    return made;
  }();
  return path;
}

void make_hashes_hold(std::vector<std::uint8_t>& bytes) {
  if (bytes.size() < segment_header_size) return;
  Sha256 sha;
  Digest hash = sha.digest(Bytes(bytes).first(segment_header_size - hash_size));
  std::ranges::copy(hash, bytes.data() + segment_header_size - hash_size);
  std::size_t at = segment_header_size;
  while (bytes.size() - at >= record_header_size + hash_size) {
    const auto size = load<std::uint32_t>(bytes.data() + at);
    if (!is_record_size(size) || stride(size) > bytes.size() - at) return;
    hash = sha.digest(Bytes(bytes).subspan(at - hash_size, hash_size + size));
    std::ranges::copy(hash, bytes.data() + at + size);
    at += stride(size);
  }
}

void write(const fs::path& path, const std::vector<std::uint8_t>& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

std::uint64_t read_all() {
  auto reader = TrailReader::open(folder());
  MERIDIAN_ASSERT(reader);
  std::uint64_t count = 0;
  for (;;) {
    const auto entry = reader->next();
    MERIDIAN_ASSERT(entry);
    if (!*entry) return count;
    ++count;
    MERIDIAN_ASSERT(is_utf8(to_json_line(**entry)));
  }
}

void fuzz(const std::uint8_t* data, std::size_t size) {
  if (size < 1 || size > input_size_max) return;
  std::vector<std::uint8_t> bytes(data + 1, data + size);
  if ((data[0] & 1) != 0) make_hashes_hold(bytes);
  if ((data[0] & 2) != 0) bytes.resize(bytes.size() + room_size);
  const fs::path path = folder() / "n1" / segment_name(0, 1);
  for (const auto& entry : fs::directory_iterator(folder() / "n1")) {
    fs::remove(entry.path());
  }
  write(path, bytes);

  const std::uint64_t count = read_all();
  const auto report = verify(folder(), {});
  MERIDIAN_ASSERT(report && report->shards.size() == 1);
  if (report->intact()) MERIDIAN_ASSERT(report->shards[0].records_count == count);
  MERIDIAN_ASSERT(is_utf8(to_json(*report)) && !to_text(*report).empty());
  MERIDIAN_ASSERT(trace(folder(), RequestId({1}), {}));

  const auto recovered = recover_shard(folder() / "n1", 0);
  MERIDIAN_ASSERT(recovered);
  const auto again = recover_shard(folder() / "n1", 0);
  MERIDIAN_ASSERT(again && again->last == recovered->last &&
                  again->next_number == recovered->next_number);
  // What recovery did not call damage, it left in order.
  const auto after = verify(folder(), {});
  MERIDIAN_ASSERT(after);
  if (report->intact()) MERIDIAN_ASSERT(after->intact());
}

}  // namespace
}  // namespace meridian::trail

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {  // NOLINT
  meridian::trail::fuzz(data, size);
  return 0;
}
