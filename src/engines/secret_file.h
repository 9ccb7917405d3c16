#pragma once
// An engine's password: made by us once, kept in a file of mode 0600, known to nobody else.

#include "base/random.h"
#include "base/result.h"
#include "base/secret.h"

#include <filesystem>
#include <optional>

namespace meridian {

// 32 bytes of chance as base64url without padding (RFC 4648, section 5): 43 characters.
Secret make_secret(Random& random);

// Empty when there is no such file. Errors: as read_file, and invalid when it holds no secret of
// ours.
Result<std::optional<Secret>> load_secret(const std::filesystem::path& path);

// Makes one, and returns when it is durable. Errors: as replace_file.
Result<Secret> store_new_secret(const std::filesystem::path& path, Random& random);

// The one that is there, or a new one.
Result<Secret> load_or_make_secret(const std::filesystem::path& path, Random& random);

}  // namespace meridian
