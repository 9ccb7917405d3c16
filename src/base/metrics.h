#pragma once
// Counters, gauges and histograms, and the registry that prints them for Prometheus.
//
// A cell is written by one loop and read by whoever prints, so writing costs a plain
// add. Cells of the same name and labels are summed when printed: each loop asks for its own.

#include "base/time.h"

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace meridian {

// Only goes up. One writing thread.
class Counter {
 public:
  void add(std::uint64_t count = 1) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
  }
  std::uint64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// Goes up and down. Any thread.
class Gauge {
 public:
  void add(std::int64_t amount) noexcept { value_.fetch_add(amount, std::memory_order_relaxed); }
  void set(std::int64_t value) noexcept { value_.store(value, std::memory_order_relaxed); }
  std::int64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::int64_t> value_{0};
};

// Durations in buckets that grow by a factor of two in four equal parts, from 1 us to 137 s: an
// estimate read from it is at most 25 % off. One writing thread.
class Histogram {
 public:
  static constexpr std::size_t parts = 4;
  static constexpr std::size_t doublings = 27;
  static constexpr std::size_t buckets_count = parts * (doublings + 1);

  void observe(Duration duration) noexcept {
    bucket(duration).add();
    sum_.add(static_cast<std::uint64_t>(duration.count() < 0 ? 0 : duration.count()));
  }

  std::uint64_t count() const noexcept;
  Duration sum() const noexcept { return Duration(static_cast<std::int64_t>(sum_.value())); }

  // The duration below which this share (0 to 1) of the observations lie. Zero when there are none.
  Duration quantile(double share) const noexcept;

  // Adds the other's counts to this one's. For reading several cells as one.
  void merge(const Histogram& other) noexcept;

  // The upper bound of a bucket; the last has none and answers Duration::max().
  static Duration bound(std::size_t index) noexcept;
  std::uint64_t bucket_count(std::size_t index) const noexcept { return buckets_[index].value(); }

 private:
  Counter& bucket(Duration duration) noexcept {
    const std::int64_t micros = duration.count() / 1'000;
    if (micros < static_cast<std::int64_t>(parts)) {
      return buckets_[micros < 0 ? 0 : static_cast<std::size_t>(micros)];
    }
    const auto value = static_cast<std::uint64_t>(micros);
    const auto doubling = static_cast<std::size_t>(std::bit_width(value) - 1);  // At least 2.
    const std::size_t part = (value >> (doubling - 2)) & (parts - 1);
    const std::size_t index = (doubling - 1) * parts + part;
    return buckets_[index < buckets_count ? index : buckets_count - 1];
  }

  std::array<Counter, buckets_count> buckets_{};
  Counter sum_;
};

using Labels = std::vector<std::pair<std::string, std::string>>;

class Metrics {
 public:
  Metrics() = default;
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // A new cell. Names follow Prometheus: meridian_<noun>_<unit>_total. The help text of the first
  // cell of a name is printed. The cell lives as long as the registry. Any thread.
  Counter& counter(std::string_view name, std::string_view help, Labels labels = {});
  Gauge& gauge(std::string_view name, std::string_view help, Labels labels = {});
  Histogram& histogram(std::string_view name, std::string_view help, Labels labels = {});

  // A gauge that is asked when printed, on the printing thread. What `read` refers to must outlive
  // the registry.
  void gauge(std::string_view name,
             std::string_view help,
             Labels labels,
             std::function<double()> read);

  // The text format of Prometheus, version 0.0.4.
  std::string to_prometheus() const;

  // All counters or gauges of this name and these labels, summed. Zero or empty when there is none.
  std::uint64_t total(std::string_view name, const Labels& labels = {}) const;
  void merge_into(Histogram& sum, std::string_view name, const Labels& labels = {}) const;

 private:
  enum class Kind : std::uint8_t { counter, gauge, histogram };
  struct Cell {
    Kind kind;
    std::string name;
    Labels labels;
    Counter counter;
    Gauge gauge;
    Histogram* histogram = nullptr;
    std::function<double()> read;
  };
  struct Family {
    Kind kind;
    std::string name;
    std::string help;
  };

  Cell& make(Kind kind, std::string_view name, std::string_view help, Labels labels);

  mutable std::mutex mutex_;  // Guards the lists, never a cell.
  std::vector<Family> families_;
  std::deque<Cell> cells_;
  std::deque<Histogram> histograms_;
};

}  // namespace meridian
