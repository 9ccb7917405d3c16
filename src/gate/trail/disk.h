#pragma once
// The trail's calls on files and folders. Whatever fails names the call, the path and the cause.

#include "base/result.h"
#include "runtime/file.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::trail {

// The two calls by which a disk says that it is full or broken. Tests put others in their place.
struct Disk {
  // Reserves `size` bytes so that no later write into them can want for room. Zero or an errno.
  std::function<int(int fd, std::uint64_t size)> preallocate;
  // Writes mapped pages to the device and waits. Zero or an errno.
  std::function<int(void* begin, std::size_t size)> sync;

  static Disk system();
};

// "open /trail/a: No such file or directory". not_found for ENOENT, exhausted when a disk, quota or
// table is full, else unavailable.
std::unexpected<Error> fail_errno(std::string_view call,
                                  const std::filesystem::path& path,
                                  int error);

// Makes the folder and those above it, for the owner alone. One that exists stays as it is.
Result<void> make_folder(const std::filesystem::path& folder);

// Names in a folder, sorted. A folder that does not exist has none.
Result<std::vector<std::string>> list_names(const std::filesystem::path& folder);

// Writes a file that appears under its name whole and durable, or not at all. One that is there
// already stays, and that is no error.
Result<void> write_new(const std::filesystem::path& path, std::string_view text, unsigned mode);

// What is left to read of an open file. Errors: invalid (more than `size_max`), unavailable.
Result<std::string> read_whole(const File& file,
                               const std::filesystem::path& path,
                               std::uint64_t size_max);

// Makes what was created, renamed or removed in it survive a loss of power.
Result<void> sync_folder(const std::filesystem::path& folder);

// Gives no error for a file that is gone already.
Result<void> remove_file(const std::filesystem::path& path);

}  // namespace meridian::trail
