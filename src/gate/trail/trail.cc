#include "gate/trail/trail.h"

#include "base/assert.h"
#include "runtime/blocking_pool.h"
#include "runtime/log.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>
#include <utility>

namespace meridian::trail {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t segment_bytes_min = std::uint64_t{128} << 10;
constexpr std::uint64_t segment_bytes_max = std::uint64_t{1} << 30;
constexpr std::uint64_t page_size = 4'096;

// Pages that are ready ahead of a writer: at 100 MB/s enough for 40 ms.
constexpr std::uint64_t warm_bytes = std::uint64_t{4} << 20;

// How often the ages of segments are looked at.
constexpr Duration check_interval = std::chrono::minutes(1);

Result<void> check(const TrailSettings& settings, std::size_t shards_count) {
  if (!is_node_name(settings.node)) {
    return fail(Errc::invalid,
                fmt::format("the node's name {:?} does not fit: up to {} letters, digits, '.', '_' "
                            "and '-', not '.' first, and not \"{}\"",
                            settings.node,
                            node_name_size_max,
                            key_folder));
  }
  if (settings.segment_bytes < segment_bytes_min || settings.segment_bytes > segment_bytes_max ||
      settings.segment_bytes % page_size != 0) {
    return fail(Errc::invalid,
                fmt::format("segment_bytes={} does not fit: {} to {}, a multiple of {}",
                            settings.segment_bytes,
                            segment_bytes_min,
                            segment_bytes_max,
                            page_size));
  }
  if (settings.sync_interval <= Duration::zero() || settings.retention <= Duration::zero() ||
      settings.segment_age_max <= Duration::zero()) {
    return fail(Errc::invalid,
                "sync_interval, retention and segment_age_max of the trail must be above zero");
  }
  if (shards_count == 0 || shards_count > Trail::shards_max) {
    return fail(
        Errc::invalid,
        fmt::format(
            "the trail has {} shards; from 1 to {} are possible", shards_count, Trail::shards_max));
  }
  return {};
}

// Two processes that appended to one chain would break it.
Result<File> take_lock(const fs::path& folder) {
  const fs::path path = folder / "lock";
  File file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file.open()) return fail_errno("open", path, errno);
  if (::flock(file.fd(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return fail_errno("lock", path, errno);
    std::array<char, 16> holder{};
    const ssize_t size = ::pread(file.fd(), holder.data(), holder.size(), 0);
    return fail(Errc::conflict,
                fmt::format("the trail in {} is written by process {}: stop it, or give this node "
                            "another name or folder",
                            folder.string(),
                            std::string_view(holder.data(),
                                             size > 0 ? static_cast<std::size_t>(size) : 0)));
  }
  const std::string holder = std::to_string(::getpid());
  if (::ftruncate(file.fd(), 0) != 0 || ::pwrite(file.fd(), holder.data(), holder.size(), 0) < 0) {
    return fail_errno("write", path, errno);
  }
  return file;
}

WallTime earlier(WallTime now, Duration duration) {
  return now - std::chrono::ceil<std::chrono::microseconds>(duration);
}

}  // namespace

Trail::Trail(TrailSettings settings, std::span<Loop* const> loops, Metrics& metrics)
    : settings_(std::move(settings)),
      loops_(loops.begin(), loops.end()),
      metrics_(metrics),
      wanted_(std::make_shared<Event>(*loops_.front())),
      sealed_at_(metrics.gauge("meridian_trail_sealed_timestamp_seconds",
                               "When the trail was last made durable and signed")),
      sync_duration_(metrics.histogram("meridian_trail_sync_seconds",
                                       "Time to make all shards durable and sign them")) {}

Trail::~Trail() {
  MERIDIAN_ASSERT(closed_);
}

Result<std::unique_ptr<Trail>> Trail::open(TrailSettings settings,
                                           std::span<Loop* const> loops,
                                           Metrics& metrics) {
  MERIDIAN_CHECK(check(settings, loops.size()));
  std::unique_ptr<Trail> trail(new Trail(std::move(settings), loops, metrics));
  if (auto started = trail->start(); !started) {
    trail->closed_ = true;
    return fail_while("opening the trail", started.error());
  }
  return trail;
}

Result<void> Trail::start() {
  const fs::path folder = settings_.folder / settings_.node;
  MERIDIAN_CHECK(make_folder(folder));
  MERIDIAN_TRY(lock_, take_lock(folder));
  MERIDIAN_TRY(key_,
               SigningKey::load_or_make(settings_.folder / key_folder, loops_.front()->random()));
  shard_settings_ = {.folder = folder,
                     .node = settings_.node,
                     .segment_bytes = settings_.segment_bytes,
                     .warm_bytes = warm_bytes,
                     .key = &*key_,
                     .disk = settings_.disk};
  return open_shards();
}

Result<void> Trail::open_shards() {
  for (std::size_t i = 0; i < loops_.size(); ++i) {
    Shard& shard = *all_shards_.emplace_back(
        std::make_unique<Shard>(shard_settings_, static_cast<std::uint32_t>(i)));
    MERIDIAN_TRY(const Recovered recovered, shard.open());
    Loop& main = *loops_.front();
    writers_.push_back(std::make_unique<TrailWriter>(
        shard, *loops_[i], writer_metrics(shard.number()), [&main, wanted = wanted_] {
          main.submit([wanted] { wanted->set(); });
        }));
    MERIDIAN_CHECK(begin_shard(*writers_.back(), recovered));
  }
  // An earlier run had more loops. Their segments age like all others, so each gets a short one.
  MERIDIAN_TRY(const auto found, list_segments(shard_settings_.folder));
  for (const ShardSegments& idle : found) {
    if (idle.shard < loops_.size()) continue;
    Shard& shard = *all_shards_.emplace_back(std::make_unique<Shard>(shard_settings_, idle.shard));
    MERIDIAN_TRY(const Recovered recovered, shard.open());
    TrailWriter writer(shard, *loops_.front(), writer_metrics(shard.number()), [] {});
    MERIDIAN_CHECK(begin_shard(writer, recovered));
    MERIDIAN_CHECK(writer.append({}, NodeStopped{.reason = "this run has fewer loops"}));
    writer.seal_here();
    MERIDIAN_CHECK(shard.close());
  }
  return {};
}

Result<void> Trail::begin_shard(TrailWriter& writer, const Recovered& recovered) {
  writer.begin(recovered.last);
  if (!recovered.detail.empty()) {
    log_warning(
        "trail",
        recovered.previous_end == PreviousEnd::damaged
            ? "a durable record is not what it was; run `meridian audit verify`"
            : "what had not reached the disk was cut off",
        {{"shard", writer.shard()}, {"bytes", recovered.bytes_cut}, {"at", recovered.detail}});
  }
  return writer.append({},
                       NodeStarted{.version = settings_.version,
                                   .shards_count = static_cast<std::uint32_t>(loops_.size()),
                                   .previous_end = recovered.previous_end,
                                   .bytes_cut = recovered.bytes_cut,
                                   .detail = recovered.detail});
}

WriterMetrics Trail::writer_metrics(std::uint32_t shard) {
  const Labels labels{{"shard", std::to_string(shard)}};
  return {
      .records = metrics_.counter("meridian_trail_records_total", "Records appended", labels),
      .bytes = metrics_.counter("meridian_trail_bytes_total", "Bytes of records appended", labels),
      .segments = metrics_.counter("meridian_trail_segments_total", "Segments begun", labels),
      .refused = metrics_.counter("meridian_trail_append_failures_total",
                                  "Records that were refused, and what they are about with them",
                                  labels),
  };
}

// On the thread that does the I/O, or on the main loop while that does nothing.
Trail::Heads Trail::work(const Pass& pass) {
  Heads heads;
  for (auto& writer : writers_) {
    Shard& shard = *all_shards_[writer->shard()];
    if (pass.seal) {
      if (auto head = shard.seal(pass.now)) heads.push_back(std::move(*head));
    }
    shard.prepare();
  }
  const bool announced = !all_shards_.front()->failed();
  for (std::size_t i = 0; announced && i < pass.remove_through.size(); ++i) {
    if (pass.remove_through[i] == 0) continue;
    if (auto removed = all_shards_[i]->remove_through(pass.remove_through[i]); !removed) {
      log_warning(
          "trail", "old segments could not be removed", {{"cause", removed.error().detail()}});
    }
  }
  return heads;
}

Async<> Trail::run() {
  Loop& loop = *loops_.front();
  Fibre& fibre = co_await this_fibre();
  BlockingPool thread(1);
  Deadline next_seal = Deadline::at(loop.now());
  for (;;) {
    if (co_await wanted_->wait(next_seal) == Wake::cancelled) co_return;
    wanted_->reset();
    const Time begun = loop.now();
    const bool seal = next_seal.passed(begun);
    if (seal) next_seal = loop.after(settings_.sync_interval);
    if (begun - checked_at_ >= check_interval) {
      checked_at_ = begun;
      rotate_old(loop.wall_now(), true);
      plan_removal(loop.wall_now());
    }
    Result<Heads> heads;
    {
      // The thread works with what is this object's: it must have ended before run() does.
      const Shield shield(fibre);
      Pass pass{.now = loop.wall_now(), .seal = seal, .remove_through = {}};
      // What is removed was announced by a record, and this pass makes that durable first.
      if (seal) pass.remove_through = std::exchange(removal_, {});
      heads = co_await thread.run([this, pass = std::move(pass)] { return work(pass); });
    }
    if (!heads) {
      log_error("trail", "the trail could not be sealed", {{"cause", heads.error().detail()}});
      continue;
    }
    if (seal) {
      sync_duration_.observe(loop.now() - begun);
      sealed_at_.set(
          std::chrono::floor<std::chrono::seconds>(loop.wall_now()).time_since_epoch().count());
    }
    hand_out(*heads, true);
  }
}

// A writer is used by its loop alone, while that runs.
void Trail::on_its_loop(TrailWriter& writer, bool loops_run, std::move_only_function<void()> what) {
  if (!loops_run || &writer.loop() == loops_.front()) {
    what();
  } else {
    writer.loop().submit(std::move(what));
  }
}

void Trail::hand_out(const Heads& heads, bool loops_run) {
  for (const SignedHead& head : heads) {
    TrailWriter& writer = *writers_[head.shard];
    on_its_loop(writer, loops_run, [&writer, head] { writer.accept_head(head); });
    if (settings_.head_sink) settings_.head_sink(head);
  }
}

void Trail::rotate_old(WallTime now, bool loops_run) {
  const WallTime begun_before = earlier(now, settings_.segment_age_max);
  for (auto& writer : writers_) {
    const auto since = all_shards_[writer->shard()]->active_since();
    if (!since || *since >= begun_before) continue;
    on_its_loop(*writer, loops_run, [&writer = *writer] { writer.rotate(); });
  }
}

// Records what is about to be removed. Each record names all shards, so that the newest one alone
// accounts for everything that is missing.
void Trail::plan_removal(WallTime now) {
  const WallTime older_than = earlier(now, settings_.retention);
  std::vector<std::uint64_t> through(all_shards_.size());
  Retention record{.shards = {}, .older_than = older_than};
  bool any = false;
  for (std::size_t i = 0; i < all_shards_.size(); ++i) {
    const Shard& shard = *all_shards_[i];
    through[i] = shard.last_before(older_than);
    any = any || through[i] != 0;
    const std::uint64_t removed = std::max(through[i], shard.first_number() - 1);
    if (removed != 0) {
      record.shards.push_back({.of_shard = shard.number(), .removed_through = removed});
    }
  }
  if (!any || !writers_.front()->append({}, record)) return;
  removal_ = std::move(through);
}

void Trail::seal_now() {
  Loop& loop = *loops_.front();
  const WallTime now = loop.wall_now();
  rotate_old(now, false);
  plan_removal(now);
  hand_out(work({.now = now, .seal = true, .remove_through = std::exchange(removal_, {})}), false);
}

Result<void> Trail::close(std::string_view reason) {
  MERIDIAN_ASSERT(!closed_);
  closed_ = true;
  Result<void> outcome;
  const auto note = [&](Result<void> step) {
    if (!step && outcome) outcome = std::move(step);
  };
  for (auto& writer : writers_) {
    note(writer->flush_outcomes());
    note(writer->append({}, NodeStopped{.reason = reason}));
  }
  removal_.clear();  // Announced, but not durably so; the next run announces it again.
  hand_out(work({.now = loops_.front()->wall_now(), .seal = true, .remove_through = {}}), false);
  for (auto& writer : writers_) {
    note(all_shards_[writer->shard()]->close());
  }
  lock_.close();
  if (!outcome) return fail_while("closing the trail", outcome.error());
  return outcome;
}

}  // namespace meridian::trail
