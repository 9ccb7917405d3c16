#pragma once
// The Ed25519 key that signs the heads of the trail (RFC 8032), kept in <trail>/key/.
//
//   signing.key       the private key, PKCS #8 PEM, readable by its owner alone
//   <16 digits>.pub   every public key that ever signed here, PEM, named by its first bytes
//
// Whoever can read signing.key can forge heads: copy public keys and heads elsewhere (HeadSink).

#include "base/random.h"
#include "base/result.h"
#include "gate/trail/digest.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

struct evp_pkey_st;

namespace meridian::trail {

using PublicKey = std::array<std::uint8_t, 32>;
using Signature = std::array<std::uint8_t, 64>;

class SigningKey {
 public:
  // Reads the key in this folder, or makes one and keeps it there. Two processes that start at once
  // end up with the same key. Errors: unavailable (the folder), invalid (no Ed25519 key, or one
  // that others may read).
  static Result<SigningKey> load_or_make(const std::filesystem::path& folder, Random& random);

  const PublicKey& public_key() const noexcept { return public_key_; }

  // Any thread.
  Signature sign(Bytes message) const noexcept;

 private:
  struct Free {
    void operator()(evp_pkey_st* key) const noexcept;
  };
  using Key = std::unique_ptr<evp_pkey_st, Free>;

  explicit SigningKey(Key key);
  static Result<SigningKey> load(const std::filesystem::path& path);
  static Result<void> make(const std::filesystem::path& path, Random& random);
  Result<void> publish(const std::filesystem::path& folder) const;

  Key key_;
  PublicKey public_key_{};
};

bool signature_holds(const PublicKey& key, Bytes message, const Signature& signature) noexcept;

// The public keys of a key folder, or the one of a PEM file. No folder gives none. Errors: invalid
// (a file that holds no Ed25519 public key), unavailable.
Result<std::vector<PublicKey>> read_public_keys(const std::filesystem::path& path);

// Its first 8 bytes in hex: enough to tell keys apart in a report.
std::string short_name(const PublicKey& key);

}  // namespace meridian::trail
