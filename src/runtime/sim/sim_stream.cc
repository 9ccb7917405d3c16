#include "runtime/sim/sim_stream.h"

#include <algorithm>

namespace meridian {

// One direction. Pieces carry the time at which they arrive; a fibre of the wire wakes the reader
// then.
struct SimStream::Wire : std::enable_shared_from_this<Wire> {
  Wire(SimLoop& owner, SimWireOptions given) : loop(owner), options(given), arrivals(owner) {}
  ~Wire() { arrivals.abandon(); }

  struct Piece {
    Time arrives;
    std::string bytes;
  };

  bool readable() const {
    return broken || (!pieces.empty() && pieces.front().arrives <= loop.now()) ||
           (pieces.empty() && ended);
  }
  bool writable() const { return broken || ended || held < options.buffered_max; }

  void wake_reader_at(Time time) {
    if (time <= loop.now()) {
      wake_all(reads);
      return;
    }
    // The fibre keeps no share of the wire: the wire's end abandons it.
    arrivals.spawn([](Wire* wire, Time until) -> Async<> {
      (void)co_await wire->loop.sleep(until - wire->loop.now());
      wake_all(wire->reads);
    }(this, time));
  }

  void break_off() {
    broken = true;
    pieces.clear();
    held = 0;
    wake_all(reads);
    wake_all(writes);
  }

  SimLoop& loop;
  SimWireOptions options;
  std::deque<Piece> pieces;
  std::size_t held = 0;
  Time last_arrival{};
  bool ended = false;
  bool broken = false;
  IoWaits reads;
  IoWaits writes;
  Scope arrivals;
};

std::pair<std::unique_ptr<SimStream>, std::unique_ptr<SimStream>> SimStream::make_pair(
    SimLoop& loop, SimWireOptions options) {
  auto there = std::make_shared<Wire>(loop, options);
  auto back = std::make_shared<Wire>(loop, options);
  return {std::unique_ptr<SimStream>(new SimStream(back, there)),
          std::unique_ptr<SimStream>(new SimStream(there, back))};
}

SimStream::SimStream(std::shared_ptr<Wire> in, std::shared_ptr<Wire> out)
    : in_(std::move(in)), out_(std::move(out)) {
  peer_.address = "127.0.0.1";
  peer_.local = true;
}

SimStream::~SimStream() {
  close();
}

Transfer SimStream::try_read(std::span<char> into) {
  Wire& wire = *in_;
  if (wire.broken) return {.status = Transfer::Status::failed};
  if (!wire.readable()) return {};
  if (wire.pieces.empty()) return {.status = Transfer::Status::ended};
  std::string& bytes = wire.pieces.front().bytes;
  const std::size_t size = std::min(into.size(), bytes.size());
  std::copy_n(bytes.data(), size, into.data());
  bytes.erase(0, size);
  wire.held -= size;
  if (bytes.empty()) wire.pieces.pop_front();
  wake_all(wire.writes);
  return {.status = Transfer::Status::done, .size = size};
}

Transfer SimStream::try_write(std::string_view bytes) {
  Wire& wire = *out_;
  if (wire.broken || wire.ended) return {.status = Transfer::Status::failed};
  if (wire.options.break_share > 0 && wire.loop.random().chance(wire.options.break_share)) {
    in_->break_off();
    wire.break_off();
    return {.status = Transfer::Status::failed};
  }
  if (!wire.writable()) return {};
  const std::size_t taken = std::min(bytes.size(), wire.options.buffered_max - wire.held);
  bytes = bytes.substr(0, taken);
  wire.held += taken;
  while (!bytes.empty()) {
    const std::size_t piece_max = wire.options.piece_size_max;
    const std::size_t size =
        piece_max == 0
            ? bytes.size()
            : std::min<std::size_t>(bytes.size(), 1 + wire.loop.random().below(piece_max));
    Duration delay = wire.options.delay_min;
    if (wire.options.delay_max > delay) {
      const auto spread = static_cast<std::uint64_t>((wire.options.delay_max - delay).count());
      delay += Duration(static_cast<std::int64_t>(wire.loop.random().below(spread + 1)));
    }
    wire.last_arrival = std::max(wire.last_arrival, wire.loop.now() + delay);
    wire.pieces.push_back(
        {.arrives = wire.last_arrival, .bytes = std::string(bytes.substr(0, size))});
    wire.wake_reader_at(wire.last_arrival);
    bytes.remove_prefix(size);
  }
  return {.status = Transfer::Status::done, .size = taken};
}

void SimStream::shutdown_write() noexcept {
  out_->ended = true;
  out_->wake_reader_at(out_->last_arrival);
}

void SimStream::close() noexcept {
  in_->break_off();
  // What was written before still arrives; then the peer reads the end.
  if (!out_->ended && !out_->broken) shutdown_write();
  wake_all(out_->writes);
}

bool SimStream::watch(IoWait& wait, Interest interest) {
  if (interest == Interest::read) {
    if (in_->readable()) return false;
    in_->reads.push_back(wait);
  } else {
    if (out_->writable()) return false;
    out_->writes.push_back(wait);
  }
  return true;
}

}  // namespace meridian
