#pragma once
// Fetches with libcurl on the threads of a BlockingPool. Servers prove themselves with certificates
// of the system's authorities, or of those in a file. A proxy named in the environment
// (https_proxy, no_proxy) is used.

#include "runtime/blocking_pool.h"
#include "runtime/fetcher.h"

#include <string>

namespace meridian {

class CurlFetcher final : public Fetcher {
 public:
  // The pool outlives it. `ca_file`: PEM; empty for the system's authorities.
  explicit CurlFetcher(BlockingPool& pool, std::string ca_file = {});

  Async<Result<FetchResponse>> get(FetchRequest request) override;

 private:
  BlockingPool& pool_;
  std::string ca_file_;
};

}  // namespace meridian
