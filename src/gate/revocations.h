#pragma once
// Revocations: tokens that are refused although they are genuine.

#include "base/hash.h"
#include "base/result.h"
#include "base/time.h"
#include "runtime/published.h"

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace meridian {

class Counter;
class Gauge;
class Loop;
class Metrics;

// What is refused: all that are given must match, and at least one is given.
struct Revocation {
  std::string id;      // Of its row.
  std::string issuer;  // The issuer's name or URL.
  std::string subject;
  std::string token_id;
  std::string role;
  WallTime created_at;
  WallTime expires_at;  // Then it is forgotten: no token that it refuses is valid any more.
  // Refuse everything that matches until then. Without it only tokens issued up to `created_at`
  // (and the clock skew) are refused, so that the subject is re-admitted with a later token.
  std::optional<WallTime> until;
  std::string reason;  // For the trail and the client's error.
};

// "access was revoked", and why. For the client's error and the trail.
std::string revocation_text(const Revocation& revocation);

// What a revocation is compared with.
struct RevocationSubject {
  std::string_view issuer;
  std::string_view issuer_url;
  std::string_view subject;
  std::string_view token_id;
  std::string_view role;  // Empty before it is known.
  std::optional<WallTime> issued_at;
  bool same_clock = false;  // The issuer's clock is the one that dates revocations.
};

// All revocations of a time. Never changes.
class RevocationSet {
 public:
  // The one that refuses this now; null when none does. The set owns it.
  const Revocation* find(const RevocationSubject& who, WallTime now) const noexcept;

  std::size_t count() const noexcept { return count_; }

 private:
  friend class Revocations;

  using Pointer = std::shared_ptr<const Revocation>;
  struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept { return hash_bytes(text); }
  };
  using ByText = std::unordered_map<std::string, std::vector<Pointer>, TextHash, std::equal_to<>>;

  void add(Pointer revocation);
  bool refuses(const Revocation& revocation,
               const RevocationSubject& who,
               WallTime now) const noexcept;
  const Revocation* find_in(const ByText& index,
                            std::string_view key,
                            const RevocationSubject& who,
                            WallTime now) const noexcept;

  std::chrono::microseconds clock_skew_{};
  std::size_t count_ = 0;
  // Each revocation is in one index, that of its narrowest part.
  ByText by_token_id_;
  ByText by_subject_;
  ByText by_role_;
  ByText by_issuer_;
};

// Keeps the set, tells the loops when it changes. Belongs to the main loop; readers are anywhere.
class Revocations {
 public:
  Revocations(std::size_t revocations_max, Duration clock_skew, Metrics& metrics);

  // Replaces all of them, after the table was read anew. Errors: as of add(); then nothing changes.
  Result<void> replace(std::span<const Revocation> revocations, WallTime now);

  // Takes effect on return for admissions, and for live visits as soon as their loops come to it.
  // One of the same id is replaced. Errors: invalid (it names nothing), exhausted
  // (revocations_max): the caller must not report success.
  Result<void> add(Revocation revocation, WallTime now);

  // The subject is admitted again. False when there is none of this id.
  bool remove(std::string_view id, WallTime now);

  const Published<RevocationSet>& published() const noexcept { return published_; }

  // `changed` runs on `loop` after each change. What it refers to lives as long as that loop runs.
  void watch(Loop& loop, std::function<void()> changed);

 private:
  Result<void> publish(std::map<std::string, RevocationSet::Pointer> next, WallTime now);

  std::size_t revocations_max_;
  Duration clock_skew_;
  Gauge& count_gauge_;
  Counter& overflows_;
  std::map<std::string, RevocationSet::Pointer> all_;
  Published<RevocationSet> published_;
  struct Watcher {
    Loop* loop;
    std::function<void()> changed;
  };
  std::vector<Watcher> watchers_;
};

}  // namespace meridian
