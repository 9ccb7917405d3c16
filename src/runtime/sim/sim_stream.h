#pragma once
// A pair of streams joined by simulated wires that delay, fragment, stall and break.

#include "runtime/scope.h"
#include "runtime/sim/sim_loop.h"
#include "runtime/stream.h"

#include <deque>
#include <memory>
#include <string>
#include <utility>

namespace meridian {

struct SimWireOptions {
  Duration delay_min{};
  Duration delay_max{};  // Each piece takes a time between the two; pieces stay in order.
  std::size_t piece_size_max =
      0;  // A write arrives in pieces of 1 to this many bytes; 0 for whole.
  std::size_t buffered_max = 64 * 1024;  // On their way or unread: then the writer blocks.
  double break_share = 0;                // The share of writes at which the wire breaks.
};

// One end. The other end reads what this one writes. Destroying or closing an end is a reset for
// the other.
class SimStream final : public Stream {
 public:
  static std::pair<std::unique_ptr<SimStream>, std::unique_ptr<SimStream>> make_pair(
      SimLoop& loop, SimWireOptions options);
  ~SimStream() override;

  Transfer try_read(std::span<char> into) override;
  Transfer try_write(std::string_view bytes) override;
  void shutdown_write() noexcept override;
  void close() noexcept override;
  const Peer& peer() const noexcept override { return peer_; }
  std::string failure() const override { return "the simulated connection is broken"; }

  void set_peer(Peer peer) { peer_ = std::move(peer); }

 protected:
  bool watch(IoWait& wait, Interest interest) override;

 private:
  struct Wire;
  SimStream(std::shared_ptr<Wire> in, std::shared_ptr<Wire> out);

  std::shared_ptr<Wire> in_;
  std::shared_ptr<Wire> out_;
  Peer peer_;
};

}  // namespace meridian
