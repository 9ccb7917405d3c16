#pragma once
// Finds out whether a token is genuine, for now, and for us.
//
// A token that was verified is remembered by its SHA-256 until it expires, so that a client's next
// connection costs a hash instead of a signature. What is remembered is forgotten as soon as the
// key that signed it is no longer its issuer's.
//
// One for each loop.

#include "base/result.h"
#include "gate/trust.h"
#include "gate/verified_token.h"
#include "runtime/published.h"
#include "wire/jose/jws.h"
#include "wire/jose/sha256.h"

#include <cstddef>
#include <cstring>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace meridian {

class Counter;
class Metrics;

using VerifiedTokenPointer = std::shared_ptr<const VerifiedToken>;

class TokenVerifier {
 public:
  struct Options {
    Duration clock_skew{};
    std::size_t tokens_cached_max = 0;
  };

  // A key that the issuer is not known to have. It may be new: see Issuers::want_key().
  struct MissingKey {
    std::string issuer_url;
    std::string kid;
  };

  struct Verdict {
    Result<VerifiedTokenPointer> token;
    std::optional<MissingKey> missing_key;  // Why `token` is an error, when that may change.
  };

  // `trust` outlives it.
  TokenVerifier(const Published<Trust>& trust, Options options, Metrics& metrics);

  // Errors: unauthenticated, naming the rule that the token breaks and never the token; exhausted
  // (its size); unavailable (the issuer's keys are too old, or were never fetched).
  Verdict verify(std::string_view token, WallTime now);

  std::size_t cached_count() const noexcept { return by_age_.size(); }

 private:
  struct Remembered {
    jose::Sha256 hash;
    VerifiedTokenPointer token;
    std::shared_ptr<const jose::PublicKey> key;
    std::uint64_t trust_version;  // When the key was last seen among the issuer's.
  };
  // The bytes of a cryptographic hash are as good as any hash of them.
  struct HashOfHash {
    std::size_t operator()(const jose::Sha256& hash) const noexcept {
      std::size_t first = 0;
      std::memcpy(&first, hash.data(), sizeof(first));
      return first;
    }
  };

  bool still_trusted(Remembered& known);
  Verdict verify_anew(std::string_view token, const jose::Sha256& hash, WallTime now);
  void remember(Remembered remembered);
  void forget(std::list<Remembered>::iterator place);

  Options options_;
  Published<Trust>::Reader trust_;
  std::list<Remembered> by_age_;  // The last used first.
  std::unordered_map<jose::Sha256, std::list<Remembered>::iterator, HashOfHash> by_hash_;
  Counter& hits_;
  Counter& misses_;
};

}  // namespace meridian
