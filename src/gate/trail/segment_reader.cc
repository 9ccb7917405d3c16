#include "gate/trail/segment_reader.h"

#include "gate/trail/disk.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

namespace meridian::trail {
namespace {

// Read at once: of a small segment all, and always enough for the largest record.
constexpr std::size_t window_size_max = std::size_t{256} << 10;
constexpr std::size_t window_size_min = 2 * (record_size_max + 2 * hash_size);

}  // namespace

Result<SegmentReader> SegmentReader::open(std::filesystem::path path) {
  File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.open()) return fail_errno("open", path, errno);
  return SegmentReader(std::move(path), std::move(file));
}

Result<std::size_t> SegmentReader::read_at(std::uint64_t offset,
                                           std::span<std::uint8_t> out) const {
  std::size_t filled = 0;
  while (filled < out.size()) {
    const ssize_t size = ::pread(
        file_.fd(), out.data() + filled, out.size() - filled, static_cast<off_t>(offset + filled));
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return fail_errno("read", path_, errno);
    if (size == 0) break;
    filled += static_cast<std::size_t>(size);
  }
  return filled;
}

Result<std::vector<std::uint8_t>> SegmentReader::read_header() const {
  std::vector<std::uint8_t> bytes(segment_header_size);
  MERIDIAN_TRY(const std::size_t size, read_at(0, bytes));
  bytes.resize(size);
  return bytes;
}

Result<std::uint64_t> SegmentReader::file_size() const {
  struct stat status{};
  if (::fstat(file_.fd(), &status) != 0) return fail_errno("fstat", path_, errno);
  return static_cast<std::uint64_t>(status.st_size);
}

Result<std::optional<RecordView>> SegmentReader::next() {
  if (offset_ - window_offset_ >= trusted_size_) {
    MERIDIAN_TRY(const bool more, fill());
    if (!more) return std::optional<RecordView>();
  }
  return take();
}

RecordView SegmentReader::take() noexcept {
  const std::size_t at = static_cast<std::size_t>(offset_ - window_offset_);
  RecordView record;
  record.header = parse_record_header(window_.data() + at);
  record.offset = offset_;
  record.linked = Bytes(window_).subspan(at - hash_size, hash_size + record.header.size);
  record.hash = Bytes(window_).subspan(at + record.header.size, hash_size);
  offset_ = record.end_offset();
  return record;
}

// Reads twice. Where the first reading saw the size of a record, its writer had finished it before,
// but the bytes beside it may have been read earlier; the second reading sees them as they are.
Result<bool> SegmentReader::fill() {
  if (window_.empty()) {
    MERIDIAN_TRY(const std::uint64_t size, file_size());
    window_.resize(std::clamp<std::uint64_t>(size, window_size_min, window_size_max));
  }
  trusted_size_ = 0;
  window_offset_ = offset_ - hash_size;
  MERIDIAN_TRY(const std::size_t size, read_at(window_offset_, window_));
  std::size_t end = hash_size;
  std::string broken;
  while (size >= end + sizeof(std::uint32_t)) {
    const auto record_size = load<std::uint32_t>(window_.data() + end);
    if (record_size == 0) break;
    if (!is_record_size(record_size)) {
      broken = fmt::format("{} is no size of a record (a multiple of {} from {} to {})",
                           record_size,
                           record_alignment,
                           record_header_size,
                           record_size_max);
      break;
    }
    if (size - end < stride(record_size)) {
      if (size < window_.size()) {
        broken = fmt::format(
            "the file ends {} bytes into a record of {}", size - end, stride(record_size));
      }
      break;
    }
    end += stride(record_size);
  }
  if (end == hash_size && size > end && size < end + sizeof(std::uint32_t)) {
    broken = fmt::format("the file ends {} bytes into the size of a record", size - end);
  }
  if (end == hash_size) {
    if (!broken.empty()) return fail(Errc::invalid, broken);
    return false;
  }
  std::atomic_thread_fence(std::memory_order_acquire);
  MERIDIAN_TRY(const std::size_t again, read_at(window_offset_, std::span(window_).first(end)));
  if (again < end) {
    return fail(Errc::unavailable, path_.string() + " was cut off while it was read");
  }
  // Altered meanwhile: its sizes can no longer be trusted to lie within the window.
  for (std::size_t at = hash_size; at < end;) {
    const auto record_size = load<std::uint32_t>(window_.data() + at);
    if (!is_record_size(record_size) || stride(record_size) > end - at) {
      return fail(Errc::invalid, "the size of a record was changed while it was read");
    }
    at += stride(record_size);
  }
  trusted_size_ = end;
  return true;
}

}  // namespace meridian::trail
