#pragma once
// A folder for one test, gone with all that is in it when the test has ended.

#include <cerrno>
#include <filesystem>
#include <stdlib.h>
#include <string>
#include <system_error>

namespace meridian {

class TemporaryFolder {
 public:
  // Throws std::filesystem::filesystem_error when there is no place for it in `parent`.
  explicit TemporaryFolder(
      const std::filesystem::path& parent = std::filesystem::temp_directory_path()) {
    std::string name = parent / "meridian-test-XXXXXX";
    if (!::mkdtemp(name.data())) {
      throw std::filesystem::filesystem_error(
          "making a temporary folder", parent, {errno, std::generic_category()});
    }
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace meridian
