#include "doors/door_host.h"

#include "runtime/log.h"

#include <string>
#include <utility>

namespace meridian {

std::uint64_t visits_begin_at(std::uint32_t loop_number, WallTime now) noexcept {
  using std::chrono::days, std::chrono::floor, std::chrono::seconds, std::chrono::sys_days;
  constexpr sys_days first_second = std::chrono::year{2026} / 1 / 1;
  constexpr unsigned count_bits = 16;
  constexpr unsigned second_bits = 30;
  constexpr unsigned loop_bits = 7;
  constexpr auto mask = [](unsigned bits) { return (std::uint64_t{1} << bits) - 1; };
  const auto second = static_cast<std::uint64_t>((floor<seconds>(now) - first_second).count());
  return (loop_number & mask(loop_bits)) << (second_bits + count_bits) |
         (second & mask(second_bits)) << count_bits;
}

DoorHost::DoorHost(Loop& loop,
                   trail::TrailWriter& trail,
                   Metrics& metrics,
                   std::uint32_t loop_number)
    : loop_(loop),
      trail_(trail),
      next_id_(visits_begin_at(loop_number, loop.wall_now())),
      scope_(loop) {
  for (const DoorName door : all_doors) {
    const Labels labels{{"door", std::string(to_string(door))}};
    per_door_[static_cast<std::size_t>(door)] = {
        .opened = &metrics.counter("meridian_visits_total", "Connections taken in.", labels),
        .present = &metrics.gauge("meridian_visits", "Connections now.", labels),
        .duration =
            &metrics.histogram("meridian_visit_seconds", "How long visits lasted.", labels)};
  }
}

DoorHost::~DoorHost() = default;

void DoorHost::admit(Door& door, std::unique_ptr<Stream> stream, Told told) {
  visits_count_.fetch_add(1, std::memory_order_relaxed);
  scope_.spawn(serve(door, std::move(stream), std::move(told)));
}

Result<void> DoorHost::record_opened(Visit& visit, Door& door) {
  const Peer& peer = visit.peer();
  return trail_.append({visit.id(), visit.request()},
                       trail::VisitOpened{.door = to_string(door.name()),
                                          .address = peer.address,
                                          .port = peer.port,
                                          .transport = peer.unix_socket ? "unix" : "tcp"});
}

Async<> DoorHost::serve(Door& door, std::unique_ptr<Stream> stream, Told told) {
  PerDoor& metrics = per_door_[static_cast<std::size_t>(door.name())];
  metrics.opened->add();
  metrics.present->add(1);
  const Time begun = loop_.now();
  Visit visit(loop_,
              std::move(stream),
              VisitId(++next_id_),
              RequestId::make(loop_.wall_now(), loop_.random()));
  visits_.emplace(visit.id(), &visit);
  visit.on_let_in(std::move(told.let_in));
  if (draining_) visit.drain();
  // Who cannot be recorded does not come in.
  if (auto recorded = record_opened(visit, door); recorded) {
    visit.fibres().spawn(door.serve(visit));
    const Shield shield(co_await this_fibre());
    co_await visit.fibres().join();
    const VisitCounters& counters = visit.counters;
    auto ended = trail_.append({visit.id(), visit.request()},
                               trail::VisitEnded{.reason = visit.end_reason(),
                                                 .statements_count = counters.statements,
                                                 .commands_count = counters.commands,
                                                 .reads_count = counters.reads,
                                                 .writes_count = counters.writes,
                                                 .bytes_in = counters.bytes_in,
                                                 .bytes_out = counters.bytes_out,
                                                 .duration = loop_.now() - begun});
    if (!ended) {
      log_error("trail",
                "the end of a visit could not be recorded",
                {{"reason", ended.error().detail()}});
    }
  } else {
    log_error("trail",
              "a connection was refused because it cannot be recorded",
              {{"reason", recorded.error().detail()}});
  }
  {
    // Without it a client under TLS cannot tell this end from an attacker's (RFC 8446,
    // section 6.1).
    const Shield shield(co_await this_fibre());
    co_await say_goodbye(visit.stream(), loop_.after(goodbye_timeout));
  }
  visit.stream().close();
  visits_.erase(visit.id());
  metrics.present->add(-1);
  metrics.duration->observe(loop_.now() - begun);
  visits_count_.fetch_sub(1, std::memory_order_relaxed);
  told.left();
}

Async<> DoorHost::drain(Duration patience) {
  draining_ = true;
  for (const auto& [id, visit] : visits_)
    visit->drain();
  const Deadline until = loop_.after(patience);
  constexpr Duration step = std::chrono::milliseconds(20);
  while (!visits_.empty() && !until.passed(loop_.now()))
    (void)co_await loop_.sleep(step);
  for (const auto& [id, visit] : visits_)
    visit->end("the node is stopping");
  co_await scope_.join();
}

}  // namespace meridian
