#pragma once
// Latencies: which share of them was below what.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

namespace checker {

class Latencies {
 public:
  void add(std::chrono::nanoseconds took) {
    if (values_.size() < values_max) values_.push_back(took);
  }
  void add(const Latencies& others) {
    values_.insert(values_.end(), others.values_.begin(), others.values_.end());
  }

  bool empty() const noexcept { return values_.empty(); }
  std::size_t count() const noexcept { return values_.size(); }

  // In microseconds. Requires some values.
  double quantile(double share) const {
    std::vector<std::chrono::nanoseconds> values = values_;
    const auto at = static_cast<std::size_t>(share * static_cast<double>(values.size() - 1));
    std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(at));
    return std::chrono::duration<double, std::micro>(values[at]).count();
  }

 private:
  static constexpr std::size_t values_max = 4 << 20;

  std::vector<std::chrono::nanoseconds> values_;
};

}  // namespace checker
