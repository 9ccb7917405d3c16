#include "streams/ingest.h"

#include "base/escape.h"
#include "base/hash.h"
#include "base/number.h"
#include "runtime/log.h"
#include "streams/ledger.h"
#include "wire/nats/subject.h"

#include <algorithm>
#include <utility>

namespace meridian {
namespace {

constexpr Duration setup_timeout = std::chrono::seconds(30);
constexpr Duration pull_timeout = std::chrono::seconds(30);
constexpr Duration looked_after_every = std::chrono::seconds(1);
constexpr Duration idle_floor_every = std::chrono::seconds(10);
constexpr Duration restart_pause_min = std::chrono::milliseconds(50);
constexpr Duration restart_pause_max = std::chrono::seconds(5);
constexpr Duration failing_pause_min = std::chrono::seconds(1);
constexpr Duration failing_pause_max = std::chrono::minutes(1);
constexpr Duration again_pause = std::chrono::milliseconds(5);
constexpr Duration trail_pause = std::chrono::milliseconds(100);
constexpr int attempts_max = 50;
constexpr int patience_max = 20;

// Messages that are done beyond one that is not.
constexpr std::size_t ahead_max = 100'000;

constexpr std::string_view keep_floor_sql =
    "WITH f AS (SELECT meridian.fence($2, $3::bigint)) UPDATE meridian.ingest_rules SET floor ="
    " $4::bigint, floor_time = $5::bigint FROM f WHERE id = $1::integer";
constexpr std::string_view pause_sql =
    "INSERT INTO meridian.ingest_rules (name, paused, paused_why) VALUES ($1, true, $2)"
    " ON CONFLICT (name) DO UPDATE SET paused = true, paused_why = excluded.paused_why";
constexpr std::string_view resume_sql =
    "UPDATE meridian.ingest_rules SET paused = false, paused_why = '' WHERE name = $1";
constexpr std::string_view accept_sql =
    "UPDATE meridian.ingest_rules SET paused = false, paused_why = '', stream = '', stream_created "
    "="
    " '', incarnation = incarnation + 1, floor = 0, floor_time = 0 WHERE name = $1";
constexpr std::string_view paused_sql = "SELECT paused FROM meridian.ingest_rules WHERE name = $1";
constexpr std::string_view dead_sql =
    "SELECT count(*) FROM (SELECT FROM meridian.dead_letters WHERE rule = $1::integer AND state ="
    " 'dead' LIMIT $2::bigint) AS d";

bool is_restart(Errc code) noexcept {
  return code == Errc::unavailable || code == Errc::timeout || code == Errc::cancelled ||
         code == Errc::exhausted || code == Errc::outcome_unknown || code == Errc::conflict;
}

}  // namespace

std::string_view to_string(IngestRule::State state) noexcept {
  switch (state) {
    case IngestRule::State::waiting:
      return "waiting";
    case IngestRule::State::starting:
      return "starting";
    case IngestRule::State::running:
      return "running";
    case IngestRule::State::paused:
      return "paused";
    case IngestRule::State::failing:
      return "failing";
    case IngestRule::State::blocked:
      return "blocked";
    case IngestRule::State::unreachable:
      return "unreachable";
  }
  return "unknown";
}

struct IngestRule::Counters {
  Counters(Metrics& metrics, const std::string& rule)
      : rows(messages(metrics, rule, "row")),
        duplicates(messages(metrics, rule, "duplicate")),
        dead(messages(metrics, rule, "dead")),
        batches(metrics.counter(
            "meridian_ingest_batches_total", "Batches that were committed.", {{"rule", rule}})),
        retries(metrics.counter("meridian_ingest_retries_total",
                                "Batches that were tried again after a conflict.",
                                {{"rule", rule}})),
        restarts(metrics.counter("meridian_ingest_restarts_total",
                                 "How often a rule began anew from what the ledger has.",
                                 {{"rule", rule}})),
        alarms(metrics.counter("meridian_ingest_alarms_total",
                               "Gaps, sequences that were used again, commits that were lost.",
                               {{"rule", rule}})),
        running(metrics.gauge(
            "meridian_ingest_running", "1 while this node works on the rule.", {{"rule", rule}})),
        pending(metrics.gauge("meridian_ingest_pending",
                              "Messages that the stream has still to deliver.",
                              {{"rule", rule}})),
        under_way(metrics.gauge("meridian_ingest_under_way",
                                "Messages that were delivered and are not committed.",
                                {{"rule", rule}})),
        commit(metrics.histogram("meridian_ingest_commit_seconds",
                                 "From a batch's first statement to its commit.",
                                 {{"rule", rule}})),
        age(metrics.histogram("meridian_ingest_age_seconds",
                              "From a message's arrival in the stream to its commit.",
                              {{"rule", rule}})) {}

  static Counter& messages(Metrics& metrics, const std::string& rule, std::string outcome) {
    return metrics.counter("meridian_ingest_messages_total",
                           "Messages that are done, by what became of them.",
                           {{"rule", rule}, {"outcome", std::move(outcome)}});
  }

  Counter& rows;
  Counter& duplicates;
  Counter& dead;
  Counter& batches;
  Counter& retries;
  Counter& restarts;
  Counter& alarms;
  Gauge& running;
  Gauge& pending;
  Gauge& under_way;
  Histogram& commit;
  Histogram& age;
};

// What one run of the rule has, from a consumer made anew to the first thing that ends it.
struct IngestRule::Run {
  struct Worker {
    explicit Worker(Loop& loop) : more(loop) {}
    std::unique_ptr<IngestSession> session;
    std::deque<Delivery> queue;
    IngestBatch* batch = nullptr;  // Under way.
    Event more;
  };

  Run(EpollLoop& loop, JetStream& with, const Kept& row, Progress progress_before)
      : jetstream(with),
        kept(row),
        progress(std::move(progress_before)),
        room(loop),
        ended(loop),
        scope(loop) {}

  void end(State state, std::string why) {
    if (!ending) ending = Ending{.state = state, .why = std::move(why)};
    ended.set();
  }
  // At a moment when little is left, or its place in the stream would matter again.
  void end_unfiltered() {
    if (unfiltered_to == 0 || delivered_to < unfiltered_to) return;
    const bool too_much = others > IngestRule::unfiltered_max && others > arrivals;
    if (!too_much && left + progress.under_way() >= IngestRule::unfiltered_min) return;
    caught_up = true;
    end(State::starting, "what waited is done");
  }
  std::size_t queued() const {
    std::size_t count = 0;
    for (const auto& worker : workers)
      count += worker->queue.size();
    return count;
  }

  JetStream& jetstream;
  const Kept& kept;
  Progress progress;
  std::optional<PullSubscription> pull;
  std::vector<std::unique_ptr<Worker>> workers;
  std::optional<PayloadReader> key_reader;
  std::uint64_t last_delivery = 0;
  bool any_delivery = false;
  // Zero: the consumer has a filter. Otherwise it delivers all of the stream until what was there
  // at the beginning has come, and then one with a filter takes its place.
  std::uint64_t unfiltered_to = 0;
  std::uint64_t delivered_to = 0;
  std::uint64_t left = 0;    // That the consumer has still to deliver.
  std::uint64_t others = 0;  // Messages that are not the rule's.
  bool caught_up = false;
  std::uint64_t arrivals = 0;
  std::uint64_t epoch = 0;
  std::optional<Ending> ending;
  Event room;  // In the queues.
  Event ended;
  Scope scope;
};

IngestRule::IngestRule(const IngestParts& parts, Rule rule)
    : parts_(parts),
      loop_(parts.loop),
      rule_(std::move(rule)),
      lease_(loop_,
             parts.statements,
             {.name = "ingest/" + rule_.name(), .owner = parts.run.node, .run = parts.run.number}),
      counters_(std::make_unique<Counters>(parts.metrics, rule_.name())),
      poked_(loop_),
      scope_(loop_) {}

IngestRule::~IngestRule() = default;

void IngestRule::start() {
  lease_.start();
  scope_.spawn(run());
}

Async<> IngestRule::close() {
  co_await scope_.close();
  co_await lease_.close();
  for (Gauge* const gauge : {&counters_->running, &counters_->pending, &counters_->under_way})
    gauge->set(0);
}

void IngestRule::enter(State state, std::string why) {
  if (state != state_ || why != why_) {
    const LogLevel level = state == State::failing || state == State::blocked ? LogLevel::error
                           : state == State::unreachable                      ? LogLevel::warning
                                                                              : LogLevel::info;
    log(level,
        "ingest",
        "a rule is " + std::string(to_string(state)),
        {{"rule", rule_.name()}, {"reason", why}});
  }
  state_ = state;
  why_ = std::move(why);
  counters_->running.set(state == State::running ? 1 : 0);
}

void IngestRule::alarm(std::string_view kind, std::string detail) {
  counters_->alarms.add();
  log_error("ingest", kind, {{"rule", rule_.name()}, {"detail", detail}});
  const std::string event = "ingest: " + std::string(kind);
  auto recorded = parts_.trail.append(
      {}, trail::Security{.event = event, .detail = rule_.name() + ": " + detail});
  if (!recorded) {
    log_error("trail", "an alarm could not be recorded", {{"reason", recorded.error().detail()}});
  }
}

IngestRule::Status IngestRule::status() const {
  Status status{.name = rule_.name(),
                .state = state_,
                .why = why_,
                .holder = lease_.holder(),
                .stream = stream_,
                .epoch = lease_.epoch(),
                .incarnation = incarnation_,
                .floor = floor_,
                .pending = static_cast<std::uint64_t>(counters_->pending.value()),
                .under_way = 0,
                .rows = counters_->rows.value(),
                .duplicates = counters_->duplicates.value(),
                .dead = counters_->dead.value(),
                .batches = counters_->batches.value(),
                .one_by_one = rule_.statement().one_by_one,
                .gap = gap_};
  if (running_) {
    status.floor = running_->progress.floor();
    status.under_way = running_->progress.under_way();
  }
  if (!lease_.held() && !lease_.holder().empty()) status.state = State::waiting;
  return status;
}

Async<Result<void>> IngestRule::pause(std::string why, Deadline deadline) {
  auto done = co_await parts_.statements.run(pause_sql, {rule_.name(), why}, deadline);
  if (!done) co_return std::unexpected(done.error());
  if (running_) running_->end(State::paused, std::move(why));
  poked_.notify_all();
  co_return Result<void>();
}

Async<Result<void>> IngestRule::resume(bool accept_stream, Deadline deadline) {
  auto done = co_await parts_.statements.run(
      accept_stream ? accept_sql : resume_sql, {rule_.name()}, deadline);
  if (!done) co_return std::unexpected(done.error());
  backoff_ = Duration::zero();
  if (accept_stream && running_)
    running_->end(State::starting, "the stream is taken for a new one");
  poked_.notify_all();
  co_return Result<void>();
}

Async<> IngestRule::run() {
  for (;;) {
    auto held = co_await lease_.becomes(true, Deadline::never());
    if (!held) co_return;
    Ending ending = co_await own();
    if ((co_await this_fibre()).cancelled()) co_return;
    counters_->restarts.add();
    enter(ending.state, std::move(ending.why));
    const bool patient = state_ == State::failing || state_ == State::blocked;
    const Duration pause_min = patient ? failing_pause_min : restart_pause_min;
    const Duration pause_max = patient ? failing_pause_max : restart_pause_max;
    backoff_ = std::clamp(backoff_ * 2, pause_min, pause_max);
    const Duration pause = state_ == State::paused ? looked_after_every : backoff_;
    if (co_await poked_.wait(loop_.after(pause)) == Wake::cancelled) co_return;
    // The next run has another epoch, so that nothing of this one can be committed any more.
    if (state_ != State::paused) lease_.lose();
  }
}

Async<IngestRule::Ending> IngestRule::own() {
  const Deadline deadline = loop_.after(setup_timeout);
  const auto unreachable = [](const Error& error) {
    return Ending{.state = State::unreachable, .why = error.detail()};
  };
  auto kept = co_await load(deadline);
  if (!kept) co_return unreachable(kept.error());
  if (kept->paused) co_return Ending{.state = State::paused, .why = kept->paused_why};
  if (state_ == State::paused || state_ == State::waiting) enter(State::starting, {});
  auto jetstream =
      co_await JetStream::connect(loop_, parts_.nats, "meridian ingest " + rule_.name(), deadline);
  if (!jetstream) co_return unreachable(jetstream.error());

  const auto with_it = [&](JetStream& js) -> Async<Ending> {
    // One that was read before and is gone is not made again behind everybody's back.
    auto stream = co_await find_stream(js, kept->created.empty(), deadline);
    if (!stream && stream.error().code() == Errc::not_found) {
      if (state_ != State::blocked) alarm("the stream is not what it was", "it is gone");
      co_return Ending{.state = State::blocked,
                       .why = "stream " + kept->stream + " is gone; `meridian ingest resume " +
                              rule_.name() + " --accept-stream` makes a new one"};
    }
    if (!stream) {
      co_return Ending{
          .state = stream.error().code() == Errc::invalid ? State::blocked : State::unreachable,
          .why = stream.error().detail()};
    }
    stream_ = stream->config.name;
    incarnation_ = kept->incarnation;
    auto position = co_await load_position(*kept, deadline);
    if (!position) co_return unreachable(position.error());
    floor_ = position->progress.floor();
    auto consumer = co_await check_position(js, *stream, *kept, *position, deadline);
    if (!consumer) {
      const bool decide = consumer.error().code() == Errc::conflict;
      if (decide && state_ != State::blocked)
        alarm("the stream is not what it was", consumer.error().detail());
      co_return Ending{.state = decide ? State::blocked : State::unreachable,
                       .why = consumer.error().detail()};
    }
    const RuleSettings& settings = rule_.settings();
    consumer->ack_pending_max =
        static_cast<std::int64_t>(8 * settings.workers * settings.batch_messages_max);
    auto made = co_await make_consumer(js, *consumer, *position, deadline);
    if (!made) co_return unreachable(made.error());
    const std::uint64_t unfiltered_to =
        consumer->filter_subject.empty() ? stream->last_sequence : 0;
    co_return co_await work(
        js, *kept, *std::move(position), !parts_.ack_before_commit, unfiltered_to);
  };
  Ending ending = co_await with_it(**jetstream);
  const Shield shield(co_await this_fibre());
  co_await (*jetstream)->close();
  co_return ending;
}

Async<IngestRule::Ending> IngestRule::work(JetStream& jetstream,
                                           const Kept& kept,
                                           Position position,
                                           bool from_the_beginning,
                                           std::uint64_t unfiltered_to) {
  const RuleSettings& settings = rule_.settings();
  Run run(loop_, jetstream, kept, std::move(position.progress));
  run.epoch = lease_.epoch();
  run.any_delivery = from_the_beginning;
  run.unfiltered_to = unfiltered_to;
  if (rule_.key() && rule_.key()->source == FieldSource::payload_field) {
    run.key_reader = *PayloadReader::make(settings.schema, {rule_.key()->path});
  }
  std::optional<Ending> failed;
  for (std::size_t i = 0; i < settings.workers && !failed; ++i) {
    run.workers.push_back(std::make_unique<Run::Worker>(loop_));
    auto session = co_await open_session(rule_, kept.id, loop_.after(setup_timeout));
    if (session) {
      run.workers.back()->session = *std::move(session);
    } else {
      failed =
          Ending{.state = is_restart(session.error().code()) ? State::unreachable : State::failing,
                 .why = session.error().detail()};
    }
  }
  if (!failed) {
    run.pull.emplace(loop_,
                     jetstream,
                     PullOptions{.stream = stream_,
                                 .consumer = kept.consumer,
                                 .messages_max = 2 * settings.workers * settings.batch_messages_max,
                                 .bytes_max = 2 * settings.workers * settings.batch_bytes_max});
    enter(State::running, {});
    running_ = &run;
    run.scope.spawn(dispatch(run));
    for (std::size_t i = 0; i < run.workers.size(); ++i)
      run.scope.spawn(serve(run, i));
    run.scope.spawn(keep_up(run));
    run.scope.spawn(watch_lease(run));
    (void)co_await run.ended.wait();
    running_ = nullptr;
    caught_up_ = run.caught_up;
    floor_ = run.progress.floor();
  }
  const Shield shield(co_await this_fibre());
  co_await run.scope.close();
  run.pull.reset();
  for (const auto& worker : run.workers) {
    if (worker->session) co_await worker->session->close();
  }
  counters_->under_way.set(0);
  if (failed) co_return *std::move(failed);
  co_return run.ending.value_or(Ending{.state = State::starting, .why = {}});
}

Async<Result<std::unique_ptr<IngestSession>>> IngestRule::open_session(const Rule& rule,
                                                                       std::int32_t id,
                                                                       Deadline deadline) {
  MERIDIAN_CO_TRY(PostgresOptions options, parts_.session_options(rule.settings().role));
  co_return co_await IngestSession::open(
      loop_, std::move(options), rule, id, parts_.secret(), parts_.mac, deadline);
}

Async<> IngestRule::dispatch(Run& run) {
  const RuleSettings& settings = rule_.settings();
  const std::size_t queue_max = 2 * settings.batch_messages_max;
  std::size_t next = 0;
  while (!run.ending) {
    const auto full = [&] {
      const bool one_full =
          std::ranges::all_of(
              run.workers, [&](const auto& worker) { return worker->queue.size() >= queue_max; }) ||
          (rule_.key() && run.queued() >= queue_max * run.workers.size());
      return one_full || run.progress.ahead() >= ahead_max;
    };
    while (full()) {
      if (co_await run.room.wait() != Wake::ready) co_return;
    }
    auto deliveries =
        co_await run.pull->take(settings.batch_messages_max, loop_.after(pull_timeout));
    if (!deliveries) {
      if (deliveries.error().code() == Errc::timeout) continue;
      if (deliveries.error().code() == Errc::cancelled) co_return;
      co_return run.end(State::unreachable, deliveries.error().detail());
    }
    // Without a key whoever has least to do gets all of it.
    if (!rule_.key()) {
      for (std::size_t i = 0; i < run.workers.size(); ++i) {
        const auto& worker = *run.workers[i];
        const auto& best = *run.workers[next];
        const auto load = [](const Run::Worker& of) {
          return of.queue.size() + (of.batch ? of.batch->count() : 0);
        };
        if (load(worker) < load(best)) next = i;
      }
    }
    for (Delivery& delivery : *deliveries) {
      // What the server counted as delivered and what came must be the same, or a message that is
      // missing would be taken for one that never was.
      if (run.any_delivery && delivery.delivery != run.last_delivery + 1) {
        co_return run.end(State::starting,
                          "delivery " + std::to_string(run.last_delivery + 1) +
                              " did not arrive, or somebody else reads with the rule's consumer");
      }
      run.any_delivery = true;
      run.last_delivery = delivery.delivery;
      run.delivered_to = std::max(run.delivered_to, delivery.sequence);
      run.left = delivery.pending;
      if (!nats::matches(settings.subject, delivery.subject())) {
        ++run.others;
        run.jetstream.send(delivery.reply(), "+ACK");
        continue;
      }
      counters_->pending.set(static_cast<std::int64_t>(delivery.pending));
      ++run.arrivals;
      if (parts_.ack_before_commit) run.jetstream.send(delivery.reply(), "+ACK");
      const StreamPlace place{.sequence = delivery.sequence, .time = delivery.time};
      switch (run.progress.arrive(place)) {
        case Progress::Arrival::under_way:
          continue;
        case Progress::Arrival::done:
          run.jetstream.send(delivery.reply(), "+ACK");
          counters_->duplicates.add();
          continue;
        case Progress::Arrival::reused:
          alarm("sequence re-use",
                "message " + std::to_string(place.sequence) + " of " + stream_ +
                    " is not the one that was done under this number; it is taken as new");
          break;
        case Progress::Arrival::fresh:
          break;
      }
      std::size_t to = next;
      if (rule_.key()) {
        std::string_view key;
        const MessageField& field = *rule_.key();
        if (run.key_reader) {
          auto fields = run.key_reader->read(delivery.payload());
          if (fields) key = (**fields)[0].text;
        } else if (field.source == FieldSource::message_token) {
          std::string_view rest = delivery.subject();
          for (std::size_t i = 0; i <= field.token; ++i)
            key = rest.empty() ? std::string_view() : nats::take_token(rest);
        } else if (field.source == FieldSource::header) {
          key = find_header(delivery.headers(), field.path).value_or("");
        } else {
          key = delivery.subject();
        }
        to = hash_bytes(key) % run.workers.size();
      }
      run.workers[to]->queue.push_back(std::move(delivery));
      run.workers[to]->more.notify_all();
    }
    counters_->under_way.set(static_cast<std::int64_t>(run.progress.under_way()));
    run.end_unfiltered();
  }
}

Async<> IngestRule::serve(Run& run, std::size_t index) {
  Run::Worker& worker = *run.workers[index];
  const RuleSettings& settings = rule_.settings();
  while (!run.ending) {
    while (worker.queue.empty()) {
      if (co_await worker.more.wait() != Wake::ready) co_return;
    }
    std::vector<IngestMessage> messages;
    messages.reserve(std::min(worker.queue.size(), settings.batch_messages_max));
    std::size_t size = 0;
    while (!worker.queue.empty() && messages.size() < settings.batch_messages_max &&
           (messages.empty() || size + worker.queue.front().size() <= settings.batch_bytes_max)) {
      size += worker.queue.front().size();
      messages.emplace_back(std::move(worker.queue.front()));
      worker.queue.pop_front();
    }
    run.room.notify_all();
    IngestBatch batch(std::move(messages));
    worker.batch = &batch;
    const Time from = loop_.now();
    BatchResult result;
    Claim claim{.lease = lease_.name(),
                .epoch = run.epoch,
                .number = ++batch_number_,
                .incarnation = run.kept.incarnation,
                .request = RequestId::make(loop_.wall_now(), loop_.random())};
    for (int attempt = 1;; ++attempt) {
      claim.floor = run.progress.floor();
      claim.day = parts_.ledger_day;
      result = co_await worker.session->commit(batch, claim);
      if (result.next != BatchResult::Next::again) break;
      counters_->retries.add();
      if (attempt == attempts_max) {
        result.next = BatchResult::Next::restart;
        result.why = "a batch was tried " + std::to_string(attempt) + " times: " + result.why;
        break;
      }
      const auto jitter = Duration(static_cast<std::int64_t>(
          loop_.random().next() % static_cast<std::uint64_t>(again_pause.count())));
      if (co_await loop_.sleep(again_pause * std::min(attempt, patience_max) + jitter) !=
          Wake::ready)
        break;
    }
    if (result.next != BatchResult::Next::done) {
      worker.batch = nullptr;
      co_return run.end(
          result.next == BatchResult::Next::pause ? State::failing : State::unreachable,
          result.why);
    }
    // Committed. It is on the trail before the stream hears of it.
    while (true) {
      auto recorded = co_await record(batch, claim, result, from);
      if (recorded) break;
      log_error("ingest",
                "a batch waits for the trail",
                {{"rule", rule_.name()}, {"reason", recorded.error().detail()}});
      if (co_await loop_.sleep(trail_pause) != Wake::ready) {
        worker.batch = nullptr;
        co_return;
      }
    }
    const std::int64_t now =
        std::chrono::duration_cast<Duration>(loop_.wall_now().time_since_epoch()).count();
    for (const IngestMessage& message : batch.messages()) {
      const bool dead = message.fate == Fate::dead;
      if (!parts_.ack_before_commit) {
        run.jetstream.send(message.delivery.reply(),
                           dead ? "+TERM " + message.reason : std::string("+ACK"));
      }
      counters_->age.observe(Duration(now - message.place.time));
      run.progress.finish(message.place.sequence);
    }
    worker.batch = nullptr;
    counters_->commit.observe(loop_.now() - from);
    counters_->batches.add();
    counters_->rows.add(result.rows_count);
    counters_->duplicates.add(result.duplicates_count);
    counters_->dead.add(result.dead_count);
    backoff_ = Duration::zero();
    run.room.notify_all();
    run.end_unfiltered();
  }
}

Async<> IngestRule::watch_lease(Run& run) {
  auto lost = co_await lease_.becomes(false, Deadline::never());
  if (lost) run.end(State::waiting, "the lease was lost");
}

Async<> IngestRule::keep_up(Run& run) {
  const RuleSettings& settings = rule_.settings();
  Time wpi_at = loop_.now() + settings.ack_wait / 3;
  Time floor_at = loop_.now() + idle_floor_every;
  while (!run.ending) {
    if (co_await loop_.sleep(looked_after_every) != Wake::ready) co_return;
    if (loop_.now() >= wpi_at) {
      wpi_at = loop_.now() + settings.ack_wait / 3;
      for (const auto& worker : run.workers) {
        for (const Delivery& delivery : worker->queue)
          run.jetstream.send(delivery.reply(), "+WPI");
        if (!worker->batch) continue;
        for (const IngestMessage& message : worker->batch->messages())
          run.jetstream.send(message.delivery.reply(), "+WPI");
      }
    }
    auto paused =
        co_await parts_.statements.run(paused_sql, {rule_.name()}, loop_.after(setup_timeout));
    if (paused && !paused->empty() && paused->flag(0, 0)) {
      co_return run.end(State::paused, "paused");
    }
    const std::string id = std::to_string(run.kept.id);
    const std::string most = std::to_string(settings.dead_letters_max);
    auto dead = co_await parts_.statements.run(dead_sql, {id, most}, loop_.after(setup_timeout));
    if (dead && dead->text(0, 0) == most) {
      co_return run.end(State::failing,
                        "there are dead_letters_max=" + most +
                            " dead letters of this rule; retry or discard some");
    }
    if (loop_.now() >= floor_at) {
      floor_at = loop_.now() + idle_floor_every;
      co_await note_idle_floor(run);
    }
  }
}

// Other rules' messages in the stream move the floor too, or a stream that forgets them would seem
// to have lost some of this rule's.
Async<> IngestRule::note_idle_floor(Run& run) {
  if (!run.progress.idle() || run.queued() > 0) co_return;
  const std::uint64_t arrivals = run.arrivals;
  const Deadline deadline = loop_.after(setup_timeout);
  auto stream = co_await run.jetstream.stream_info(stream_, deadline);
  if (!stream || stream->last_sequence <= run.progress.floor().sequence) co_return;
  auto last = co_await run.jetstream.message(stream_, stream->last_sequence, deadline);
  auto consumer = co_await run.jetstream.consumer_info(stream_, run.kept.consumer, deadline);
  if (!last || !consumer || consumer->pending_count > 0 || consumer->ack_pending_count > 0) {
    co_return;
  }
  if (run.arrivals != arrivals || !run.progress.idle() || run.queued() > 0) co_return;
  run.progress.advance({.sequence = stream->last_sequence, .time = to_nanoseconds(last->time)});
  const StreamPlace floor = run.progress.floor();
  const std::string id = std::to_string(run.kept.id);
  const std::string epoch = std::to_string(run.epoch);
  const std::string sequence = std::to_string(floor.sequence);
  const std::string time = std::to_string(floor.time);
  (void)co_await parts_.statements.run(
      keep_floor_sql, {id, lease_.name(), epoch, sequence, time}, deadline);
}

}  // namespace meridian
