#include "streams/outbox.h"

#include "runtime/log.h"

#include <algorithm>
#include <fmt/format.h>
#include <unordered_map>
#include <utility>

namespace meridian {
namespace {

constexpr Duration statement_timeout = std::chrono::seconds(10);
constexpr Duration open_timeout = std::chrono::seconds(10);
constexpr Duration pause_min = std::chrono::milliseconds(20);
constexpr Duration pause_max = std::chrono::seconds(1);
constexpr Duration settle_every = std::chrono::seconds(1);
constexpr Duration farewell_timeout = std::chrono::seconds(2);
constexpr Duration mark_every = std::chrono::milliseconds(200);
constexpr Duration watch_every = std::chrono::seconds(1);
constexpr Duration trim_timeout = std::chrono::minutes(5);
constexpr Duration trim_every = std::chrono::seconds(30);
// A row is delivered before it can be seen, by less than this unless it is not there at all.
constexpr Duration visible_within = std::chrono::seconds(10);
constexpr std::uint64_t rows_read_max = 2'048;
constexpr std::size_t burst_max = 512;
constexpr std::size_t batches_read_max = 16;

Histogram& stage(Metrics& metrics, std::string name) {
  return metrics.histogram(
      "meridian_outbox_stage_seconds",
      "Of batches, from when the feed told of the first row to its number, and "
      "the reading of rows; of messages, from sending to acknowledgement.",
      {{"stage", std::move(name)}});
}

Duration longer(Duration pause) {
  return std::clamp<Duration>(pause * 2, pause_min, pause_max);
}

}  // namespace

std::string_view to_string(Outbox::Status::State state) noexcept {
  switch (state) {
    case Outbox::Status::State::idle:
      return "idle";
    case Outbox::Status::State::opening:
      return "opening";
    case Outbox::Status::State::gap:
      return "gap";
    case Outbox::Status::State::publishing:
      return "publishing";
    case Outbox::Status::State::waiting:
      return "waiting";
  }
  return "unknown";
}

struct Outbox::Current {
  Current(Loop& loop, OutboxStart start)
      : run(start), read_next(start.next_number), changed(loop), over(loop), scope(loop) {}

  void fail_with(Error why) {
    if (!error) error = std::move(why);
    over.set();
  }

  OutboxRun run;
  std::uint64_t read_next;
  std::deque<Ready> ready;
  std::size_t ready_bytes = 0;
  std::deque<Sent> sent;
  std::optional<Error> error;
  Event changed;
  Event over;
  Scope scope;
};

Outbox::Outbox(Loop& loop,
               OutboxStore& store,
               OutboxSink& sink,
               OutboxCommits& commits,
               Record record,
               Metrics& metrics,
               OutboxOptions options)
    : loop_(loop),
      store_(store),
      sink_(sink),
      commits_(commits),
      record_(std::move(record)),
      options_(std::move(options)),
      ended_event_(loop),
      numbered_event_(loop),
      passed_event_(loop),
      opened_event_(loop),
      numbered_total_(metrics.counter("meridian_outbox_numbered_total",
                                      "Rows that got their number in the order of commits.")),
      published_total_(metrics.counter("meridian_outbox_published_total",
                                       "Messages that the stream has acknowledged.")),
      bytes_total_(metrics.counter("meridian_outbox_bytes_total",
                                   "Headers and payloads of messages that were acknowledged.")),
      dead_letters_total_(metrics.counter("meridian_outbox_dead_letters_total",
                                          "Rows that could not become messages.")),
      stragglers_total_(
          metrics.counter("meridian_outbox_stragglers_total",
                          "Rows that the feed did not bring and the table showed later.")),
      read_back_total_(metrics.counter("meridian_outbox_read_back_total",
                                       "Rows that were read from the table, since the feed's own "
                                       "were not kept or could not be seen yet.")),
      restarts_total_(metrics.counter("meridian_outbox_restarts_total",
                                      "Times publishing began anew by asking the stream.")),
      emptied_total_(metrics.counter("meridian_outbox_partitions_emptied_total",
                                     "Partitions of published rows that were emptied.")),
      waiting_(metrics.gauge("meridian_outbox_waiting", "Numbered rows that are not published.")),
      rows_bytes_(metrics.gauge("meridian_outbox_rows_bytes",
                                "Rows of the feed's that are kept until they are published.")),
      oldest_age_seconds_(metrics.gauge("meridian_outbox_oldest_age_seconds",
                                        "How long the oldest of them has waited.")),
      alarm_(metrics.gauge("meridian_outbox_alarm",
                           "1 while more rows wait, or for longer, than is normal.")),
      gap_(metrics.gauge("meridian_outbox_gap",
                         "1 while messages are missing and the operator has to decide.")),
      delay_(metrics.histogram("meridian_outbox_delay_seconds",
                               "From a row's writing, by the database's clock, to the stream's "
                               "acknowledgement.")),
      numbering_(stage(metrics, "number")),
      reading_(stage(metrics, "read")),
      acknowledging_(stage(metrics, "publish")) {}

Outbox::~Outbox() = default;

void Outbox::reopen() {
  if (current_) current_->fail_with(Error(Errc::unavailable, "the stream is opened anew"));
}

void Outbox::end(Error why) {
  if (!ended_) ended_ = std::move(why);
  ended_event_.set();
}

Async<Error> Outbox::serve() {
  ended_.reset();
  ended_event_.reset();
  opened_event_.reset();
  opened_ = false;
  beginning_done_ = 0;
  polled_.reset();
  suspects_beginning_ = 0;
  poll_pause_ = pause_min;
  horizon_.reset();
  left_out_.reset();
  status_.by_feed = false;
  settled_.clear();
  recent_.clear();
  seen_ = {};
  stream_created_.clear();
  status_ = {.state = Status::State::opening,
             .dead_letters = status_.dead_letters,
             .oldest_age = {},
             .problem = {}};

  scope_ = std::make_unique<Scope>(loop_);
  scope_->spawn([](Outbox& self) -> Async<> {
    auto ended = co_await self.number();
    if (!ended) self.end(ended.error());
  }(*this));
  scope_->spawn(publish());
  scope_->spawn(keep_settled());
  scope_->spawn(keep_marks());
  scope_->spawn(watch());
  const Wake wake = co_await ended_event_.wait();
  {
    const Shield shield(co_await this_fibre());
    co_await scope_->close();
    co_await sink_.close();
    // Only helps to see later whether the stream has lost anything.
    if (wake != Wake::ready && !stream_created_.empty()) {
      auto marked = co_await store_.mark_published(published_,
                                                   stream_created_,
                                                   published_sequence_,
                                                   done_id_,
                                                   loop_.after(farewell_timeout));
      if (!marked) {
        log_info("outbox",
                 "how far publishing has come was not written down; the stream says it",
                 {{"reason", marked.error().detail()}});
      }
    }
  }
  scope_.reset();
  status_.state = Status::State::idle;
  gap_.set(0);
  if (wake != Wake::ready) co_return Error(Errc::cancelled);
  co_return *ended_;
}

Async<> Outbox::publish() {
  Duration pause = Duration::zero();
  std::string complained;
  for (;;) {
    const std::uint64_t before = published_total_.value();
    auto ended = co_await publish_run();
    co_await sink_.close();
    if (ended.error().code() == Errc::cancelled) co_return;
    if (ended.error().code() == Errc::denied && ended.error().detail().contains("MLEAS")) {
      co_return end(ended.error());
    }
    restarts_total_.add();
    status_.problem = ended.error().detail();
    if (complained != status_.problem) {
      complained = status_.problem;
      log_warning("outbox", "nothing is published", {{"reason", status_.problem}});
    }
    if (published_total_.value() != before) {
      complained.clear();
      pause = Duration::zero();
    }
    pause = longer(pause);
    if (co_await loop_.sleep(pause) != Wake::ready) co_return;
  }
}

Async<Result<void>> Outbox::publish_run() {
  if (status_.state != Status::State::gap) status_.state = Status::State::opening;
  MERIDIAN_CO_TRY(const StreamTail tail, co_await sink_.open(loop_.after(open_timeout)));
  MERIDIAN_CO_TRY(OutboxMarks marks, co_await store_.marks(loop_.after(statement_timeout)));
  const auto decided = decide_start(marks, tail);
  if (const auto* const gap = std::get_if<OutboxGap>(&decided)) {
    gap_.set(1);
    // Numbers that the stream knows must not be given to other rows.
    if (gap->kind != OutboxGap::Kind::database_lost && !opened_) {
      opened_ = true;
      opened_event_.set();
    }
    // Said when an operator can act on it.
    MERIDIAN_CO_CHECK(co_await store_.state_condition(gap->text, loop_.after(statement_timeout)));
    status_.state = Status::State::gap;
    status_.problem = gap->text;
    co_return fail(Errc::conflict, gap->text);
  }
  if (marks.resume != OutboxResume::none) {
    const auto adopted = adopted_marks(marks, tail);
    MERIDIAN_CO_CHECK(co_await store_.adopt(*adopted, loop_.after(statement_timeout)));
    log_warning("outbox",
                "the operator has decided about a gap",
                {{"how", marks.resume == OutboxResume::skip ? "skip" : "republish"},
                 {"next", adopted->published + 1}});
    marks = *adopted;
  } else if (!marks.condition.empty()) {
    MERIDIAN_CO_CHECK(co_await store_.state_condition({}, loop_.after(statement_timeout)));
  }
  gap_.set(0);
  const OutboxStart start = std::get<OutboxStart>(decided);
  installation_ = marks.installation;
  stream_created_ = tail.created;
  published_ = start.next_number - 1;
  published_sequence_ = start.last_sequence;
  status_.published = published_;
  if (!opened_) {
    opened_ = true;
    opened_event_.set();
  }
  status_.state = Status::State::publishing;
  status_.problem.clear();

  // Some of those that are kept may be published, or passed over.
  commits_.rows().clear();
  Current current(loop_, start);
  const auto run = [](Outbox& self, Current& mine, auto step) -> Async<> {
    auto ended = co_await (self.*step)(mine);
    if (!ended) mine.fail_with(ended.error());
  };
  current.scope.spawn(run(*this, current, &Outbox::read));
  current.scope.spawn(run(*this, current, &Outbox::send));
  current.scope.spawn(run(*this, current, &Outbox::take_acknowledgements));
  current_ = &current;
  const Wake wake = co_await current.over.wait();
  current_ = nullptr;
  {
    const Shield shield(co_await this_fibre());
    co_await current.scope.close();
  }
  status_.state = Status::State::waiting;
  if (wake != Wake::ready) co_return fail(Errc::cancelled);
  co_return std::unexpected(*current.error);
}

// The batch that has this number; one without rows when it has not been given yet.
Async<Result<OutboxBatch>> Outbox::batch_of(std::uint64_t number) {
  while (!recent_.empty() && recent_.front().end() <= number)
    recent_.pop_front();
  if (!recent_.empty() && recent_.front().first <= number) co_return recent_.front();
  MERIDIAN_CO_TRY(
      std::vector<OutboxBatch> batches,
      co_await store_.batches(number, batches_read_max, loop_.after(statement_timeout)));
  if (batches.empty()) co_return OutboxBatch{};
  if (batches.front().first > number) {
    co_return fail(
        Errc::not_found,
        fmt::format("nothing says which row has number {}: it was published and removed", number));
  }
  co_return std::move(batches.front());
}

Async<Result<void>> Outbox::read(Current& current) {
  bool ask = false;
  for (;;) {
    if (current.read_next > numbered_ && !ask) {
      const Wake wake = co_await numbered_event_.wait(loop_.after(settle_every));
      if (wake == Wake::cancelled) co_return fail(Errc::cancelled);
      // Now and then the table is asked: another may have given numbers in our name shortly before.
      ask = wake == Wake::timeout;
      continue;
    }
    ask = false;
    MERIDIAN_CO_TRY(const OutboxBatch batch, co_await batch_of(current.read_next));
    if (batch.count == 0) {
      // Given, and not there: whatever that means, it is not asked for without a pause.
      if (current.read_next <= numbered_ && co_await loop_.sleep(pause_min) != Wake::ready) {
        co_return fail(Errc::cancelled);
      }
      continue;
    }
    std::uint64_t number = batch.first;
    std::vector<IdRun> runs;
    std::uint64_t rows_count = 0;
    for (const IdRun& run : batch.runs) {
      IdRun rest = run;
      if (number < current.read_next) {
        const std::uint64_t passed = std::min(current.read_next - number, rest.count);
        rest.first += passed;
        rest.count -= passed;
        number += passed;
      }
      while (rest.count > 0) {
        const std::uint64_t count = std::min(rest.count, rows_read_max - rows_count);
        runs.push_back({.first = rest.first, .count = count});
        rest.first += count;
        rest.count -= count;
        rows_count += count;
        number += count;
        if (rows_count < rows_read_max) continue;
        MERIDIAN_CO_CHECK(co_await read_runs(current, number - rows_count, std::move(runs)));
        runs.clear();
        rows_count = 0;
      }
    }
    if (rows_count > 0) {
      MERIDIAN_CO_CHECK(co_await read_runs(current, number - rows_count, std::move(runs)));
    }
  }
}

// Gets rows and makes them ready in the order of their numbers.
Async<Result<void>> Outbox::read_runs(Current& current,
                                      std::uint64_t number,
                                      std::vector<IdRun> runs) {
  const Time begin = loop_.now();
  std::vector<std::uint64_t> wanted;
  std::unordered_map<std::uint64_t, OutboxRow> found;
  std::vector<IdRun> missing;
  for (const IdRun& run : runs) {
    for (std::uint64_t id = run.first; id < run.first + run.count; ++id) {
      wanted.push_back(id);
      if (auto row = commits_.rows().take(id, seen_)) {
        found.emplace(id, *std::move(row));
      } else if (!missing.empty() && missing.back().first + missing.back().count == id) {
        ++missing.back().count;
      } else {
        missing.push_back({.first = id, .count = 1});
      }
    }
  }
  if (!missing.empty()) {
    MERIDIAN_CO_CHECK(co_await read_back(std::move(missing), found));
  }
  for (const std::uint64_t id : wanted) {
    Ready ready{.number = number++, .error = {}, .row = {}};
    ready.row.id = id;
    const auto row = found.find(id);
    if (row == found.end()) {
      ready.error = "the row is no longer in meridian.outbox";
    } else {
      ready.row = std::move(row->second);
      if (ready.row.payload_size > sink_.message_size_max()) {
        ready.error = fmt::format("the payload has {} bytes, and the server takes {}",
                                  ready.row.payload_size,
                                  sink_.message_size_max());
      } else if (!ready.row.payload) {
        MERIDIAN_CO_TRY(ready.row.payload,
                        co_await store_.payload(id, loop_.after(statement_timeout)));
      }
    }
    ready.size = ready.row.payload ? ready.row.payload->size() : 0;
    while (current.ready_bytes > options_.ready_bytes_max ||
           current.ready.size() >= 4 * rows_read_max) {
      if (co_await current.changed.wait() == Wake::cancelled) co_return fail(Errc::cancelled);
    }
    current.ready_bytes += ready.size;
    current.ready.push_back(std::move(ready));
    current.read_next = number;
  }
  reading_.observe(loop_.now() - begin);
  current.changed.notify_all();
  co_return Result<void>();
}

// Asks the table for rows until all of them can be seen, or are not there.
Async<Result<void>> Outbox::read_back(std::vector<IdRun> runs,
                                      std::unordered_map<std::uint64_t, OutboxRow>& found) {
  const auto there = [&](const IdRun& run) {
    for (std::uint64_t id = run.first; id < run.first + run.count; ++id) {
      if (!found.contains(id) && id > settled_id_) return false;
    }
    return true;
  };
  for (const IdRun& run : runs)
    read_back_total_.add(run.count);
  const Deadline visible = loop_.after(visible_within);
  Duration pause = std::chrono::microseconds(250);
  for (;;) {
    MERIDIAN_CO_TRY(std::vector<OutboxRow> rows,
                    co_await store_.rows(runs, loop_.after(statement_timeout)));
    for (OutboxRow& row : rows)
      found.insert_or_assign(row.id, std::move(row));
    if (std::ranges::all_of(runs, there) || visible.passed(loop_.now())) co_return Result<void>();
    if (co_await loop_.sleep(pause) != Wake::ready) co_return fail(Errc::cancelled);
    pause = std::min<Duration>(pause * 2, std::chrono::milliseconds(50));
  }
}

std::string Outbox::headers_of(const Ready& ready, std::uint64_t expected_sequence) const {
  std::string block = fmt::format(
      "NATS/1.0\r\nNats-Msg-Id: {}\r\nNats-Expected-Stream: {}\r\n"
      "Nats-Expected-Last-Sequence: {}\r\n",
      OutboxMessageId{.installation = installation_, .number = ready.number}.to_text(),
      options_.stream,
      expected_sequence);
  if (!ready.row.identity.empty()) block += "Meridian-Identity: " + ready.row.identity + "\r\n";
  if (ready.error.empty()) {
    block += ready.row.headers;
  } else {
    block += "Meridian-Dead-Letter: " + ready.error + "\r\n";
  }
  block += "\r\n";
  return block;
}

Async<Result<void>> Outbox::send(Current& current) {
  for (;;) {
    if (current.ready.empty() || current.run.in_flight() >= options_.in_flight_max) {
      if (co_await current.changed.wait() == Wake::cancelled) co_return fail(Errc::cancelled);
      continue;
    }
    MERIDIAN_CO_CHECK(co_await send_burst(current));
    if (co_await loop_.yield() == Wake::cancelled) co_return fail(Errc::cancelled);
  }
}

Async<Result<void>> Outbox::send_burst(Current& current) {
  const std::size_t room =
      static_cast<std::size_t>(options_.in_flight_max - current.run.in_flight());
  const std::size_t count = std::min({current.ready.size(), room, burst_max});
  for (std::size_t i = 0; i < count; ++i) {
    Ready& ready = current.ready[i];
    const std::size_t size = headers_of(ready, current.run.expected_sequence() + i).size() +
                             (ready.row.payload ? ready.row.payload->size() : 0);
    if (ready.error.empty() && !sink_.covers(ready.row.subject)) {
      ready.error = "the outbox's stream does not take this subject";
    } else if (ready.error.empty() && size > sink_.message_size_max()) {
      ready.error = fmt::format(
          "the message has {} bytes, and the server takes {}", size, sink_.message_size_max());
    }
    if (!ready.error.empty()) {
      MERIDIAN_CO_CHECK(co_await store_.bury(
          ready.number, ready.row.id, ready.error, loop_.after(statement_timeout)));
      dead_letters_total_.add();
      ++status_.dead_letters;
      log_error("outbox",
                "a row cannot become a message",
                {{"number", ready.number}, {"id", ready.row.id}, {"reason", ready.error}});
      ready.row.payload = std::string();
      if (ready.row.subject.empty() || !sink_.covers(ready.row.subject)) {
        ready.row.subject = outbox_dead_letter_subject(options_.stream);
      }
    }
  }
  MERIDIAN_CO_CHECK(record_burst(current, count));
  const Time sent_at = loop_.now();
  for (std::size_t i = 0; i < count; ++i) {
    const Ready& ready = current.ready.front();
    const std::string headers = headers_of(ready, current.run.expected_sequence());
    const std::size_t payload_size = ready.row.payload->size();
    MERIDIAN_CO_CHECK(sink_.publish(ready.row.subject, headers, *ready.row.payload));
    current.run.sent();
    current.sent.push_back({.created_at = ready.row.created_at,
                            .sent_at = sent_at,
                            .size = headers.size() + payload_size});
    current.ready_bytes -= ready.size;
    current.ready.pop_front();
  }
  current.changed.notify_all();
  co_return Result<void>();
}

// One record for messages in a row of one request.
Result<void> Outbox::record_burst(const Current& current, std::size_t count) const {
  constexpr std::string_view mark = "req=";
  const auto request_of = [&](const Ready& ready) -> std::string_view {
    const std::size_t at = ready.row.identity.rfind(mark);
    if (at == std::string::npos) return {};
    return std::string_view(ready.row.identity).substr(at + mark.size());
  };
  for (std::size_t i = 0; i < count;) {
    const Ready& first = current.ready[i];
    const std::string_view request = request_of(first);
    OutboxPublication publication{.request = RequestId::parse(request).value_or(RequestId()),
                                  .stream = options_.stream,
                                  .subject = first.row.subject,
                                  .first_number = first.number,
                                  .expected_sequence = current.run.expected_sequence() + i};
    for (; i < count && request_of(current.ready[i]) == request; ++i) {
      ++publication.count;
      publication.bytes += current.ready[i].row.payload->size();
    }
    MERIDIAN_CHECK(record_(publication));
  }
  return {};
}

Async<Result<void>> Outbox::take_acknowledgements(Current& current) {
  for (;;) {
    if (current.run.in_flight() == 0) {
      if (co_await current.changed.wait() == Wake::cancelled) co_return fail(Errc::cancelled);
      continue;
    }
    MERIDIAN_CO_TRY(const std::vector<std::uint64_t> sequences,
                    co_await sink_.acknowledgements(loop_.after(options_.acknowledgement_timeout)));
    const WallTime now = loop_.wall_now();
    const Time came_at = loop_.now();
    for (const std::uint64_t sequence : sequences) {
      if (!current.run.acknowledged(sequence)) {
        co_return fail(Errc::conflict,
                       fmt::format("message {} was stored at {} and not at {}",
                                   current.run.published() + 1,
                                   sequence,
                                   current.run.published_sequence() + 1));
      }
      const Sent& sent = current.sent.front();
      if (sent.created_at != WallTime()) delay_.observe(now - sent.created_at);
      acknowledging_.observe(came_at - sent.sent_at);
      bytes_total_.add(sent.size);
      current.sent.pop_front();
    }
    published_total_.add(sequences.size());
    published_ = current.run.published();
    published_sequence_ = current.run.published_sequence();
    status_.published = published_;
    current.changed.notify_all();
  }
}

// ---- upkeep ----

Async<> Outbox::keep_marks() {
  std::uint64_t marked = 0;
  while (co_await loop_.sleep(mark_every) == Wake::ready) {
    while (!settled_.empty() && settled_.front().numbered <= published_) {
      done_id_ = settled_.front().id;
      settled_.pop_front();
    }
    const std::uint64_t number = published_;
    if (status_.state != Status::State::publishing || number + done_id_ == marked) continue;
    auto done = co_await store_.mark_published(
        number, stream_created_, published_sequence_, done_id_, loop_.after(statement_timeout));
    if (done) {
      marked = number + done_id_;
    } else if (done.error().code() == Errc::denied) {
      co_return end(done.error());
    } else if (done.error().code() == Errc::cancelled) {
      co_return;
    }
  }
}

Async<> Outbox::watch() {
  Time trim_at = loop_.now();
  bool alarmed = false;
  while (co_await loop_.sleep(watch_every) == Wake::ready) {
    // While all is well there is no need to ask.
    const bool idle = opened_ && numbered_ == published_;
    auto backlog =
        idle ? Result<OutboxBacklog>() : co_await store_.backlog(loop_.after(statement_timeout));
    if (backlog) {
      // What the table remembers of publishing is a moment old.
      const std::uint64_t waiting = numbered_ - std::min(numbered_, published_);
      if (opened_) backlog->rows_count = waiting;
      if (opened_ && waiting == 0) backlog->oldest_age = {};
      waiting_.set(static_cast<std::int64_t>(backlog->rows_count));
      status_.oldest_age = backlog->oldest_age;
      oldest_age_seconds_.set(backlog->oldest_age / std::chrono::seconds(1));
      const bool alarm =
          backlog->rows_count > options_.alarm_rows || backlog->oldest_age > options_.alarm_age;
      if (alarm && !alarmed) {
        log_warning("outbox",
                    "rows wait for being published",
                    {{"rows", backlog->rows_count},
                     {"oldest", to_text(backlog->oldest_age)},
                     {"reason", status_.problem}});
      } else if (!alarm && alarmed) {
        log_info("outbox", "what waited is published");
      }
      alarmed = alarm;
      status_.alarm = alarm;
      alarm_.set(alarm ? 1 : 0);
    }
    if (!backlog) {
      if (backlog.error().code() == Errc::cancelled) co_return;
      log_warning(
          "outbox", "how many rows wait is not known", {{"reason", backlog.error().detail()}});
    }
    rows_bytes_.set(static_cast<std::int64_t>(commits_.rows().size()));
    if (loop_.now() < trim_at) continue;
    trim_at = loop_.now() + trim_every;
    auto emptied = co_await store_.trim(options_.keep, loop_.after(trim_timeout));
    if (emptied) {
      emptied_total_.add(*emptied);
    } else if (emptied.error().code() == Errc::denied) {
      co_return end(emptied.error());
    }
  }
}

}  // namespace meridian
