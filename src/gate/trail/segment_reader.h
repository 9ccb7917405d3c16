#pragma once
// Reads the records of one segment in their order, also while another process writes it.
//
// It reads with pread(2) and maps nothing: a file that somebody cuts off while it is read is then
// an error and no SIGBUS. It judges the shape of a record, not its hash (see gate/trail/chain.h).

#include "base/result.h"
#include "gate/trail/format.h"
#include "runtime/file.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace meridian::trail {

class SegmentReader {
 public:
  // Errors: not_found, unavailable.
  static Result<SegmentReader> open(std::filesystem::path path);

  // The first 256 bytes, or what there is of them. Errors: unavailable.
  Result<std::vector<std::uint8_t>> read_header() const;

  // The next record; none at the end, where a later call may find more. The record's bytes are
  // valid until the next call. Errors: invalid (the bytes at offset() are no record; every later
  // call gives the same), unavailable.
  Result<std::optional<RecordView>> next();

  // Where the next record begins.
  std::uint64_t offset() const noexcept { return offset_; }
  const std::filesystem::path& path() const noexcept { return path_; }
  Result<std::uint64_t> file_size() const;

  // Fills `out` from this offset of the file and gives how many bytes there were. Errors:
  // unavailable.
  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::uint8_t> out) const;

 private:
  SegmentReader(std::filesystem::path path, File file)
      : path_(std::move(path)), file_(std::move(file)) {}

  Result<bool> fill();
  RecordView take() noexcept;

  std::filesystem::path path_;
  File file_;
  std::uint64_t offset_ = segment_header_size;

  // What lies in the file from window_offset_ on. Records in it are whole up to trusted_size_.
  std::vector<std::uint8_t> window_;
  std::uint64_t window_offset_ = 0;
  std::size_t trusted_size_ = 0;
};

}  // namespace meridian::trail
