#pragma once
// The loop of simulation: virtual time, and an order that a seed decides.
//
// Every fibre that could run next is drawn from the ready ones by a seeded generator, so one seed
// is one schedule, and code that relies on an unwritten order fails. Time does not pass while
// something is ready; then the clock jumps to the next timer. Several nodes, each with what it
// thinks is its own loop, may share one SimLoop.

#include "runtime/loop.h"

#include <cstdint>
#include <random>

namespace meridian {

class SimRandom final : public Random {
 public:
  explicit SimRandom(std::uint64_t seed) : generator_(seed) {}

  std::uint64_t next() override { return generator_(); }
  void fill_secret(std::span<std::uint8_t> bytes) override {
    for (std::uint8_t& byte : bytes)
      byte = static_cast<std::uint8_t>(generator_());
  }

  // From 0 to bound - 1. Requires bound > 0.
  std::uint64_t below(std::uint64_t bound) { return generator_() % bound; }

  // True in this share (0 to 1) of the calls.
  bool chance(double share) { return static_cast<double>(generator_() >> 11) * 0x1.0p-53 < share; }

 private:
  std::mt19937_64 generator_;
};

class SimLoop final : public Loop {
 public:
  // `random` finds bugs; `fifo` is the order of EpollLoop.
  enum class Order : std::uint8_t { random, fifo };

  explicit SimLoop(std::uint64_t seed, Order order = Order::random)
      : random_(seed), order_(order) {}
  ~SimLoop() override { drop_queues(); }

  Time now() const override { return now_; }
  WallTime wall_now() const override;
  SimRandom& random() override { return random_; }

  // Runs until nothing is left to do (true) or until `limit` (false).
  bool run(Duration limit);

  std::uint64_t steps_count() const noexcept { return steps_count_; }

  // The fingerprint of the run: the same seed gives the same digest.
  std::uint64_t digest() const noexcept { return digest_; }
  void observe(std::uint64_t value) noexcept { digest_ = (digest_ ^ value) * 0x100000001b3; }

 private:
  void interrupt() noexcept override {}

  SimRandom random_;
  Order order_;
  Time now_{};
  std::uint64_t steps_count_ = 0;
  std::uint64_t digest_ = 0xcbf29ce484222325;
};

}  // namespace meridian
