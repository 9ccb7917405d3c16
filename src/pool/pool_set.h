#pragma once
// The pools of a node: one for each role and database, made when the first visit asks.
//
// Any thread.

#include "base/metrics.h"
#include "pool/pool.h"
#include "runtime/scope.h"

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace meridian {

class PoolSet {
 public:
  static constexpr std::size_t pools_max = 1'024;

  PoolSet(BackendSource& source, Metrics& metrics) : source_(source), metrics_(metrics) {}

  // Of pools that stand, and of those that are made from now on.
  void set_options(std::map<std::string, PoolOptions> by_role);

  // Errors: exhausted (pools_max).
  Result<std::shared_ptr<Pool>> find(const std::string& role, const std::string& database);

  std::vector<std::shared_ptr<Pool>> all() const;

  // Runs Pool::tend() of all pools, now and then, until cancelled.
  Async<> tend(EpollLoop& loop);

  void renew();
  void close();

 private:
  BackendSource& source_;
  Metrics& metrics_;
  mutable std::mutex mutex_;
  std::map<std::string, PoolOptions> options_;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<Pool>> pools_;
};

}  // namespace meridian
