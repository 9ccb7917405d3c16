#pragma once
// The folder of this node's own signing keys: one file a key, readable by its owner alone.
//
// Files are written whole or not at all. Reading is strict: what others may read, or what does not
// say the same as its name, is an error for the operator and never used. Small and rare enough to
// be read and written on the main loop.

#include "base/result.h"
#include "base/time.h"
#include "wire/jose/key.h"

#include <string>
#include <string_view>
#include <vector>

namespace meridian {

// A key and from when on it signs. Until then it is only published.
struct IssuingKey {
  jose::SigningKey key;
  WallTime signs_from;
};

class KeyFolder {
 public:
  // Makes the folder, for its owner alone, where there is none. Errors: denied (others may enter
  // it, or it is somebody else's), unavailable (the system's reason).
  static Result<KeyFolder> open(std::string path);

  // All keys, by when they sign. Errors: denied (others may read a file), invalid (its content),
  // unavailable.
  Result<std::vector<IssuingKey>> load() const;

  // Returns when the file is on the disk.
  Result<void> store(const IssuingKey& key) const;
  Result<void> remove(std::string_view kid) const;

 private:
  explicit KeyFolder(std::string path) : path_(std::move(path)) {}

  std::string file_of(std::string_view kid) const;
  Result<IssuingKey> load_file(const std::string& name) const;

  std::string path_;
};

}  // namespace meridian
