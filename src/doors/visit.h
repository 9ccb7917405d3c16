#pragma once
// A visit: one client connection through a door, owned by one loop from accept to close.

#include "base/ids.h"
#include "base/time.h"
#include "runtime/scope.h"
#include "runtime/stream.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace meridian {

// What a visit did, for its last record on the trail.
struct VisitCounters {
  std::uint64_t statements = 0;
  std::uint64_t commands = 0;
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
};

class Visit {
 public:
  Visit(Loop& loop, std::unique_ptr<Stream> stream, VisitId id, RequestId request)
      : loop_(loop), stream_(std::move(stream)), id_(id), request_(request), fibres_(loop) {}

  Loop& loop() noexcept { return loop_; }
  VisitId id() const noexcept { return id_; }  // In every log line and trail record.

  // What the visit does is recorded under this id, unless a request brings one of its own.
  RequestId request() const noexcept { return request_; }

  Stream& stream() noexcept { return *stream_; }
  const Peer& peer() const noexcept { return stream_->peer(); }

  // For TLS: takes the stream away to wrap it, and puts what came of it in its place.
  std::unique_ptr<Stream> take_stream() noexcept { return std::move(stream_); }
  void set_stream(std::unique_ptr<Stream> stream) noexcept { stream_ = std::move(stream); }

  // There is no stream any more where TLS took it and failed.
  void close_stream() noexcept {
    if (stream_) stream_->close();
  }

  // Fibres that work for the visit; they end with it.
  Scope& fibres() noexcept { return fibres_; }

  // Finish what is open, then leave. The door is told once by what it set with on_drain().
  bool draining() const noexcept { return draining_; }
  void drain() {
    if (std::exchange(draining_, true) || !on_drain_) return;
    on_drain_();
  }
  void on_drain(std::function<void()> told) { on_drain_ = std::move(told); }

  // Ends the visit soon: everything that it waits for is cancelled. The first reason is kept.
  void end(std::string reason) {
    if (end_reason_.empty()) end_reason_ = std::move(reason);
    fibres_.cancel();
  }
  // A reason without a push: for the trail.
  void note_end(std::string reason) {
    if (end_reason_.empty()) end_reason_ = std::move(reason);
  }
  const std::string& end_reason() const noexcept { return end_reason_; }

  VisitCounters counters;

 private:
  Loop& loop_;
  std::unique_ptr<Stream> stream_;
  VisitId id_;
  RequestId request_;
  Scope fibres_;
  bool draining_ = false;
  std::function<void()> on_drain_;
  std::string end_reason_;
};

}  // namespace meridian
