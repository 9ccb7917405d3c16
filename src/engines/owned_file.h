#pragma once
// Small files of the data folder, read and replaced whole.
//
// Safe where the folder belongs to another user than ours (the engines' folders when we are root):
// a symbolic link in the place of the file is never followed.

#include "base/result.h"

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <utility>

namespace meridian {

// A user and a group of the system, as Child takes them.
using Account = std::pair<uid_t, gid_t>;

// Empty when there is no such file. Errors: denied, invalid (no ordinary file, or longer than
// `size_max`), unavailable, with the path and the system's reason.
Result<std::optional<std::string>> read_file(const std::filesystem::path& path,
                                             std::size_t size_max);

// Writes a file of mode 0600 beside it, syncs it and puts it in the place of the old one: after a
// crash there is the old text or the new. It belongs to `owner`, or to us. Errors: denied,
// exhausted (no space), unavailable, with the path and the system's reason.
Result<void> replace_file(const std::filesystem::path& path,
                          std::string_view text,
                          std::optional<Account> owner = std::nullopt);

// Removes a file, durably. That there is none is no error.
Result<void> remove_file(const std::filesystem::path& path);

// What the system said, for a path: `doing` "creating", `error` an errno.
std::unexpected<Error> fail_at(std::string_view doing,
                               const std::filesystem::path& path,
                               int error);

}  // namespace meridian
