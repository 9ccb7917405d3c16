#pragma once
// A signed head: "the chain of this shard had this hash at this record, at this time". Copied to
// where the node cannot change it, it shows that the trail was cut or written anew.

#include "base/time.h"
#include "gate/trail/digest.h"
#include "gate/trail/record.h"
#include "gate/trail/signing_key.h"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace meridian::trail {

struct SignedHead {
  std::string node{};
  std::uint32_t shard = 0;
  std::uint64_t segment = 0;
  std::uint64_t sequence = 0;         // The last record that it covers.
  std::uint64_t synced_sequence = 0;  // Records up to this one were on the disk when it was signed.
  WallTime time{};
  Digest hash{};  // Of the record `sequence`.
  PublicKey key{};
  Signature signature{};

  Head to_record() const noexcept;
  bool signature_holds() const noexcept;
};

// Fills in key and signature.
void sign(SignedHead& head, const SigningKey& key) noexcept;

// The head that a record in a segment of this shard and key stands for.
SignedHead to_signed_head(const Head& record,
                          std::string_view node,
                          std::uint32_t shard,
                          const PublicKey& key);

// Given each new head, on the main loop. Must not block.
using HeadSink = std::function<void(const SignedHead& head)>;

}  // namespace meridian::trail
