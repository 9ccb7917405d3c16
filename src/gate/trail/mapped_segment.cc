#include "gate/trail/mapped_segment.h"

#include "base/assert.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace meridian::trail {
namespace {

std::uint64_t page_floor(std::uint64_t offset) noexcept {
  static const auto page_size = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return offset & ~(page_size - 1);
}

// The last store of a record or header: what it announces is in the map before it is.
template <class Word>
void announce(std::uint8_t* at, Word word) noexcept {
  std::atomic_ref(*reinterpret_cast<Word*>(at)).store(word, std::memory_order_release);
}

}  // namespace

Result<std::unique_ptr<MappedSegment>> MappedSegment::prepare(std::filesystem::path path,
                                                              std::uint64_t number,
                                                              std::uint64_t size,
                                                              const Disk& disk) {
  MERIDIAN_ASSERT(size > segment_header_size);
  File file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file.open()) return fail_errno("create", path, errno);
  std::unique_ptr<MappedSegment> segment(
      new MappedSegment(std::move(path), number, std::move(file), size));
  const auto give_up = [&](std::string_view call, int error) {
    auto failure = fail_errno(call, segment->path_, error);
    ::unlink(segment->path_.c_str());
    return failure;
  };
  const int fd = segment->file_.fd();
  if (const int error = disk.preallocate(fd, size); error != 0) {
    return give_up("reserve " + std::to_string(size) + " bytes for", error);
  }
  void* const map = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) return give_up("map", errno);
  segment->map_ = static_cast<std::uint8_t*>(map);
  if (::fsync(fd) != 0) return give_up("fsync", errno);
  if (auto synced = sync_folder(segment->path_.parent_path()); !synced) {
    ::unlink(segment->path_.c_str());
    return std::unexpected(synced.error());
  }
  return segment;
}

MappedSegment::~MappedSegment() {
  unmap();
}

void MappedSegment::unmap() noexcept {
  if (map_) ::munmap(map_, size_);
  map_ = nullptr;
}

void MappedSegment::begin(SegmentHeader& header, Sha256& sha) noexcept {
  const auto bytes = encode(header, sha);
  begun_at_ = header.begun_at;
  std::memcpy(map_ + sizeof(segment_magic),
              bytes.data() + sizeof(segment_magic),
              bytes.size() - sizeof(segment_magic));
  announce(map_, segment_magic);
  used_ = segment_header_size;
}

void MappedSegment::append(const std::uint8_t* record, std::uint32_t record_size) noexcept {
  MERIDIAN_ASSERT(room() >= stride(record_size));
  std::uint8_t* const at = map_ + used_;
  std::memcpy(at + sizeof(record_size),
              record + sizeof(record_size),
              stride(record_size) - sizeof(record_size));
  announce(at, record_size);
  newest_offset_.store(used_, std::memory_order_release);
  used_ += stride(record_size);
}

bool MappedSegment::newest(RecordHeader& header, Digest& hash, std::uint64_t& end) const noexcept {
  const std::uint64_t offset = newest_offset_.load(std::memory_order_acquire);
  if (offset == 0) return false;
  header = parse_record_header(map_ + offset);
  end = offset + stride(header.size);
  std::copy_n(map_ + end - hash_size, hash_size, hash.begin());
  return true;
}

Result<void> MappedSegment::sync(std::uint64_t end, const Disk& disk) {
  if (end <= synced_) return {};
  const std::uint64_t begin = page_floor(synced_);
  if (const int error = disk.sync(map_ + begin, end - begin); error != 0) {
    return fail_errno("sync", path_, error);
  }
  synced_ = end;
  return {};
}

void MappedSegment::warm(std::uint64_t end) noexcept {
  end = page_floor(std::min(end, size_));
  if (end <= warmed_) return;
  // A kernel before 5.14 does not know this advice: the writer then faults its pages in by itself.
  (void)::madvise(map_ + warmed_, end - warmed_, MADV_POPULATE_WRITE);
  warmed_ = end;
}

Result<void> MappedSegment::finish(const Disk& disk) {
  RecordHeader header;
  Digest hash;
  std::uint64_t end = segment_header_size;
  newest(header, hash, end);
  MERIDIAN_CHECK(sync(end, disk));
  unmap();
  if (::ftruncate(file_.fd(), static_cast<off_t>(end)) != 0) {
    return fail_errno("truncate", path_, errno);
  }
  if (::fsync(file_.fd()) != 0) return fail_errno("fsync", path_, errno);
  file_.close();
  return {};
}

Result<void> MappedSegment::discard() {
  unmap();
  file_.close();
  return remove_file(path_);
}

}  // namespace meridian::trail
