#pragma once
// SHA-256 digests, the links of the trail's chain.

#include <array>
#include <cstdint>
#include <memory>
#include <span>

struct evp_md_ctx_st;
struct evp_md_st;

namespace meridian::trail {

using Bytes = std::span<const std::uint8_t>;
using Digest = std::array<std::uint8_t, 32>;

// Computes one digest after another in one OpenSSL context, because making a context costs more
// than hashing a record. One thread at a time.
class Sha256 {
 public:
  Sha256();

  // `out` may lie inside `bytes`.
  void digest(Bytes bytes, std::span<std::uint8_t, 32> out) noexcept;
  Digest digest(Bytes bytes) noexcept;

 private:
  struct Free {
    void operator()(evp_md_st* algorithm) const noexcept;
    void operator()(evp_md_ctx_st* context) const noexcept;
  };

  std::unique_ptr<evp_md_st, Free> algorithm_;
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

}  // namespace meridian::trail
