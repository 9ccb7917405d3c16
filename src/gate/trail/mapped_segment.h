#pragma once
// A segment while it is written: a file of its final size, mapped into memory.
//
// An append is a copy into the map whose size word is stored last, so a process that is killed at
// any instruction leaves every record whole or not at all, and what it left is in the kernel's
// hands. Only sync() makes it survive a loss of power.
//
// Its room is reserved when it is made (posix_fallocate), so a full disk cannot turn an append into
// a SIGBUS. Not covered: file systems on which reserved room may still run out when pages are
// copied on write or allocated late (btrfs and ZFS with snapshots, thin-provisioned volumes, NFS).
//
// The writer's thread begins it and appends. The sealer's side, on another thread, does the rest.
// The sealer owns it and ends it after the writer has moved on.

#include "base/result.h"
#include "gate/trail/disk.h"
#include "gate/trail/format.h"
#include "runtime/file.h"

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>

namespace meridian::trail {

class MappedSegment {
 public:
  // A new file of `size` bytes, all zero. Errors: exhausted (the
  // disk is full), unavailable; no file is left then.
  static Result<std::unique_ptr<MappedSegment>> prepare(std::filesystem::path path,
                                                        std::uint64_t number,
                                                        std::uint64_t size,
                                                        const Disk& disk);
  MappedSegment(const MappedSegment&) = delete;
  MappedSegment& operator=(const MappedSegment&) = delete;
  ~MappedSegment();

  std::uint64_t number() const noexcept { return number_; }
  const std::filesystem::path& path() const noexcept { return path_; }

  // The writer's side.

  // Fills in the hash of the header.
  void begin(SegmentHeader& header, Sha256& sha) noexcept;
  WallTime begun_at() const noexcept { return begun_at_; }

  std::uint64_t used() const noexcept { return used_; }
  std::uint64_t room() const noexcept { return size_ - used_; }

  // `record` is followed by its hash and begins with its size. Requires the room.
  void append(const std::uint8_t* record, std::uint32_t record_size) noexcept;

  // The sealer's side.

  // The header and hash of the newest record; false when there is none.
  bool newest(RecordHeader& header, Digest& hash, std::uint64_t& end) const noexcept;

  // Makes everything before `end` survive a loss of power.
  Result<void> sync(std::uint64_t end, const Disk& disk);

  // Touches the pages up to `end`, so that the writer need not wait for the kernel to hand them
  // out.
  void warm(std::uint64_t end) noexcept;

  // Syncs, unmaps and cuts off what was not used. Requires that the writer has moved on.
  Result<void> finish(const Disk& disk);

  // Unmaps and removes one that was not begun.
  Result<void> discard();

 private:
  MappedSegment(std::filesystem::path path, std::uint64_t number, File file, std::uint64_t size)
      : path_(std::move(path)), number_(number), file_(std::move(file)), size_(size) {}

  void unmap() noexcept;

  std::filesystem::path path_;
  std::uint64_t number_;
  File file_;
  std::uint64_t size_;
  std::uint8_t* map_ = nullptr;
  WallTime begun_at_{};

  std::uint64_t used_ = 0;                       // The writer's.
  std::atomic<std::uint64_t> newest_offset_{0};  // Zero: no record yet.
  std::uint64_t synced_ = 0;                     // The sealer's, as is the next.
  std::uint64_t warmed_ = 0;
};

}  // namespace meridian::trail
