#include "gate/trail/head.h"

#include "gate/trail/codec.h"

#include <vector>

namespace meridian::trail {
namespace {

// What is signed. It begins with its purpose, so that the key's signatures mean nothing elsewhere.
std::vector<std::uint8_t> message(const SignedHead& head) {
  constexpr std::string_view purpose = "meridian trail head 1";
  std::vector<std::uint8_t> bytes;
  const auto put = [&](std::uint64_t value) {
    bytes.resize(bytes.size() + sizeof(value));
    store(bytes.data() + bytes.size() - sizeof(value), value);
  };
  bytes.insert(bytes.end(), purpose.begin(), purpose.end());
  put(head.node.size());
  bytes.insert(bytes.end(), head.node.begin(), head.node.end());
  put(head.shard);
  put(head.segment);
  put(head.sequence);
  put(head.synced_sequence);
  put(static_cast<std::uint64_t>(head.time.time_since_epoch().count()));
  bytes.insert(bytes.end(), head.hash.begin(), head.hash.end());
  return bytes;
}

}  // namespace

Head SignedHead::to_record() const noexcept {
  return {.sealed_segment = segment,
          .sealed_sequence = sequence,
          .synced_sequence = synced_sequence,
          .sealed_at = time,
          .hash = hash,
          .signature = signature};
}

bool SignedHead::signature_holds() const noexcept {
  return trail::signature_holds(key, message(*this), signature);
}

void sign(SignedHead& head, const SigningKey& key) noexcept {
  head.key = key.public_key();
  head.signature = key.sign(message(head));
}

SignedHead to_signed_head(const Head& record,
                          std::string_view node,
                          std::uint32_t shard,
                          const PublicKey& key) {
  return {.node = std::string(node),
          .shard = shard,
          .segment = record.sealed_segment,
          .sequence = record.sealed_sequence,
          .synced_sequence = record.synced_sequence,
          .time = record.sealed_at,
          .hash = record.hash,
          .key = key,
          .signature = record.signature};
}

}  // namespace meridian::trail
