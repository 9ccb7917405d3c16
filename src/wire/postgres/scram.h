#pragma once
// SCRAM-SHA-256: how Meridian proves a login role's password to a server without sending it, and
// the verifier that goes into ALTER ROLE ... PASSWORD so that the password never travels at all
// (RFC 5802, RFC 7677; PostgreSQL documentation, "SASL Authentication"). Without channel binding.
//
// The server is read as if it were hostile: its nonce, salt and iteration count are bounded before
// they cost anything, and it must prove in turn that it knows the verifier.

#include "base/random.h"
#include "base/result.h"
#include "base/secret.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace meridian::postgres {

inline constexpr std::string_view scram_mechanism = "SCRAM-SHA-256";

struct ScramLimits {
  std::uint32_t iterations_min = 4096;     // RFC 7677, section 4.
  std::uint32_t iterations_max = 100'000;  // About 30 ms; CVE-2026-6669 had no bound.
  std::size_t nonce_bytes_max = 512;       // Ours and theirs together; CVE-2026-6665.
  std::size_t salt_bytes_max = 256;
};

inline constexpr std::size_t scram_key_bytes = 32;
using ScramKey = std::array<std::uint8_t, scram_key_bytes>;

// A password, and the keys derived from it for the salt and the iterations last asked for: logging
// in again costs some hashes instead of thousands. Wiped when it ends.
class ScramPassword {
 public:
  // Errors: invalid for a password that is not printable ASCII; others would need SASLprep
  // (RFC 4013), which Meridian's own, generated passwords do not.
  static Result<ScramPassword> make(Secret password);

  ScramPassword(ScramPassword&&) noexcept = default;
  ScramPassword& operator=(ScramPassword&&) noexcept = default;
  ~ScramPassword();

 private:
  friend class ScramClient;
  explicit ScramPassword(Secret password) : password_(std::move(password)) {}

  struct Keys {
    ScramKey client;
    ScramKey server;
  };
  const Keys& derive(std::string_view salt, std::uint32_t iterations);

  Secret password_;
  std::string salt_;
  std::uint32_t iterations_ = 0;  // 0: nothing derived yet.
  Keys keys_{};
};

// One login. Call first(), final() and verify() in this order, once each.
class ScramClient {
 public:
  // `password` outlives the client. The name stays empty: PostgreSQL takes the one of the startup
  // message.
  ScramClient(ScramPassword& password, Random& random, ScramLimits limits = {});

  // With a given name and nonce, printable and without commas, as the example of RFC 7677 has them.
  ScramClient(ScramPassword& password,
              std::string_view user,
              std::string nonce,
              ScramLimits limits = {});

  // For SASLInitialResponse.
  const std::string& first() const noexcept { return first_; }

  // Takes AuthenticationSASLContinue, gives the SASLResponse. Errors: invalid when the server's
  // message is malformed, does not continue our nonce, or exceeds a limit.
  Result<std::string> final(std::string_view server_first);

  // Takes AuthenticationSASLFinal. Errors: denied when the server refuses, invalid when it does not
  // prove that it knows the verifier: then it is not the server it claims to be.
  Result<void> verify(std::string_view server_final) const;

 private:
  ScramPassword& password_;
  ScramLimits limits_;
  std::string nonce_;
  std::string first_;
  ScramKey server_signature_{};
  bool proved_ = false;
};

// The text of pg_authid.rolpassword: SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>.
// Errors: as ScramPassword::make().
inline constexpr std::uint32_t verifier_iterations = 4096;
Result<std::string> make_scram_verifier(const Secret& password,
                                        std::span<const std::uint8_t> salt,
                                        std::uint32_t iterations = verifier_iterations);

}  // namespace meridian::postgres
