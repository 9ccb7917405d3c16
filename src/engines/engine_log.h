#pragma once
// What an engine prints, kept in a file of bounded size: its last lines explain why it ended.

#include "base/result.h"
#include "runtime/async.h"
#include "runtime/loop.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace meridian {

class EngineLog {
 public:
  static constexpr std::size_t tail_lines_max = 10;
  static constexpr std::size_t tail_size_max = 4uz * 1024;

  // `size_max` bytes, and as much again in the file beside it, "<path>.1".
  EngineLog(std::filesystem::path path, std::uint64_t size_max)
      : path_(std::move(path)), size_max_(size_max) {}

  const std::filesystem::path& path() const noexcept { return path_; }

  // What comes from now on is the tail.
  void mark();

  // The last lines since mark(): at most tail_lines_max of the last tail_size_max bytes.
  std::vector<std::string> tail() const;

  // When the file is longer than its bound, moves its text to "<path>.1". The engine keeps the file
  // open for appending, so the text is copied and the file cut; a line that is written in between
  // may be lost. Lets others run meanwhile.
  Async<Result<void>> bound(Loop& loop);

 private:
  std::filesystem::path path_;
  std::uint64_t size_max_;
  std::uint64_t marked_ = 0;  // The file's size at mark().
};

}  // namespace meridian
