#pragma once
// The trail of one node: an append-only, hash-chained, signed log of what every visit did.
//
//   <folder>/key/               the key that signs, and public keys (gate/trail/signing_key.h)
//   <folder>/<node>/            one node's segments (gate/trail/format.h), and `lock`
//
// It has one shard and one TrailWriter for each loop; shard 0 is the main loop's. run(), a fibre of
// the main loop, seals: each sync_interval it has what was appended written to the disk by a thread
// of its own, signs the newest record of each shard, and has the signed heads appended. So:
//
//   the process is killed    nothing that was acknowledged is lost
//   the machine loses power  at most the last sync_interval is lost, and a signed head never lies
//                            about what was on the disk
//
// Belongs to the main loop. Its order of life: open(), loops run, run() is cancelled and joined,
// loops end, close(), loops are destroyed.

#include "base/metrics.h"
#include "base/result.h"
#include "gate/trail/head.h"
#include "gate/trail/shard.h"
#include "gate/trail/trail_writer.h"
#include "runtime/event.h"
#include "runtime/file.h"
#include "runtime/loop.h"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace meridian::trail {

struct TrailSettings {
  std::filesystem::path folder{};
  std::string node{};
  std::string version{};  // Of the program; goes on the trail.

  // Of each segment, reserved on the disk while it and the one after it are in use. From 128 KiB to
  // 1 GiB, in whole pages.
  std::uint64_t segment_bytes = std::uint64_t{16} << 20;

  Duration sync_interval = std::chrono::seconds(1);

  // Segments whose records are all older are removed. A segment is ended when it is so old itself
  // as segment_age_max, so a record is kept for at most the sum of both.
  Duration retention = std::chrono::days(90);
  Duration segment_age_max = std::chrono::days(1);

  HeadSink head_sink{};
  Disk disk = Disk::system();
};

class Trail {
 public:
  static constexpr std::size_t shards_max = 256;

  // Takes the folder for this process, finds where each chain ends, and appends node_started to
  // every shard. loops[0] is the main loop. Errors: invalid (settings), conflict (another process
  // writes this node's trail), exhausted (the disk is full), unavailable.
  static Result<std::unique_ptr<Trail>> open(TrailSettings settings,
                                             std::span<Loop* const> loops,
                                             Metrics& metrics);
  Trail(const Trail&) = delete;
  Trail& operator=(const Trail&) = delete;
  ~Trail();

  // Of loops[index].
  TrailWriter& writer(std::size_t index) noexcept { return *writers_[index]; }

  // Seals until the fibre is cancelled.
  Async<> run();

  // Seals once, on the calling thread, and appends the heads at once. Only where no loop runs and
  // run() does not: for close() and for tools and tests.
  void seal_now();

  // Appends node_stopped to every shard, seals, and gives the folder back. Errors: unavailable (not
  // everything may have reached the disk).
  Result<void> close(std::string_view reason);

  // Lets go of everything as a killed process would. For tests.
  void abandon() noexcept { closed_ = true; }

  const PublicKey& public_key() const noexcept { return key_->public_key(); }

 private:
  // What the thread that does the I/O is asked for, and what it says.
  struct Pass {
    WallTime now{};
    bool seal = false;                          // Or only prepare segments.
    std::vector<std::uint64_t> remove_through;  // For each of all_shards_; empty: nothing.
  };
  using Heads = std::vector<SignedHead>;

  Trail(TrailSettings settings, std::span<Loop* const> loops, Metrics& metrics);

  Result<void> start();
  Result<void> open_shards();
  Result<void> begin_shard(TrailWriter& writer, const Recovered& recovered);
  WriterMetrics writer_metrics(std::uint32_t shard);
  Heads work(const Pass& pass);
  void hand_out(const Heads& heads, bool loops_run);
  void on_its_loop(TrailWriter& writer, bool loops_run, std::move_only_function<void()> what);
  void rotate_old(WallTime now, bool loops_run);
  void plan_removal(WallTime now);

  TrailSettings settings_;
  std::vector<Loop*> loops_;
  Metrics& metrics_;
  std::optional<SigningKey> key_;
  ShardSettings shard_settings_;
  File lock_;

  // The writers' shards, then those of loops that an earlier run had: they are kept for retention.
  std::vector<std::unique_ptr<Shard>> all_shards_;
  std::vector<std::unique_ptr<TrailWriter>> writers_;

  std::shared_ptr<Event> wanted_;  // A segment is wanted before sync_interval is over.
  Time checked_at_{};              // When ages were last looked at.
  std::vector<std::uint64_t> removal_;
  bool closed_ = false;

  Gauge& sealed_at_;
  Histogram& sync_duration_;
};

}  // namespace meridian::trail
