#include "test/checker/readers.h"

#include "test/checker/connections.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace checker {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds error_pause{5};

// One read that was asked for and not answered yet.
struct Asked {
  const Subject* subject = nullptr;
  std::vector<std::int64_t> floors;
  bool as_hash = false;
};

class Reader {
 public:
  Reader(const Options& options, Orders& orders, std::uint64_t number)
      : options_(options), orders_(orders), random_(options.seed * 7'919 + number) {
    for (const Kind kind : Orders::kinds) {
      std::vector<Subject> found = subjects(orders, kind);
      if (!found.empty()) subjects_.push_back(std::move(found));
    }
  }

  template <class Round>
  ReaderResult run(const std::atomic<bool>& stop, Round round) {
    while (!stop) {
      try {
        if (!connection_) connection_ = std::make_unique<Redis>(options_);
        round(*this);
      } catch (const ConnectionError& error) {
        note_error(error.what());
        connection_.reset();
        if (!options_.faults) break;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      }
    }
    return std::move(result_);
  }

  void read_pipeline() {
    asked_.clear();
    for (unsigned i = 0; i < options_.pipeline; ++i)
      ask(pick(), random_() % 8 == 0);
    if (options_.soak && random_() % 64 == 0) {
      connection_->append({"DEL", pick().key});
      forgotten_ = true;
    }
    const std::uint64_t errors = result_.errors;
    for (const Asked& asked : asked_)
      check(asked);
    if (std::exchange(forgotten_, false)) (void)connection_->reply();
    orders_.reads.fetch_add(asked_.size(), std::memory_order_relaxed);
    // Who asks without end while the database is away keeps it from coming back.
    if (result_.errors != errors) std::this_thread::sleep_for(error_pause);
  }

  void probe(Latencies& hits, Latencies& misses) {
    const Subject& subject = pick();
    connection_->command({"DEL", subject.key});
    asked_.clear();
    for (Latencies* const latencies : {&misses, &hits}) {
      const auto begin = Clock::now();
      ask(subject, false);
      check(asked_.back());
      latencies->add(Clock::now() - begin);
    }
    orders_.reads.fetch_add(2, std::memory_order_relaxed);
  }

 private:
  // Orders mostly, where there is more; the first ones more often.
  const Subject& pick() {
    std::size_t kind = 0;
    if (subjects_.size() > 1 && random_() % 3 == 0) kind = random_() % subjects_.size();
    const std::vector<Subject>& choice = subjects_[kind];
    const double share = std::uniform_real_distribution<double>(0, 1)(random_);
    return choice[std::min(
        static_cast<std::size_t>(share * share * static_cast<double>(choice.size())),
        choice.size() - 1)];
  }

  void ask(const Subject& subject, bool as_hash) {
    as_hash = as_hash && orders_.kind(subject.index) == Kind::order;
    Asked& asked =
        asked_.emplace_back(Asked{.subject = &subject, .floors = {}, .as_hash = as_hash});
    for (std::size_t i = 0; i < subject.count; ++i)
      asked.floors.push_back(
          orders_[subject.index + i].acknowledged.load(std::memory_order_seq_cst));
    if (as_hash) {
      connection_->append({"HGET", subject.key, "revision"});
    } else {
      connection_->append({"GET", subject.key});
    }
  }

  void check(const Asked& asked) {
    const Redis::Reply reply = connection_->reply();
    const Subject& subject = *asked.subject;
    std::vector<std::int64_t> ceilings;
    for (std::size_t i = 0; i < subject.count; ++i)
      ceilings.push_back(orders_[subject.index + i].issued.load(std::memory_order_seq_cst));
    std::optional<std::string> json;
    if (reply->type == REDIS_REPLY_STRING) {
      json = std::string(reply->str, reply->len);
      if (asked.as_hash) json = "\"revision\":" + *json;
    } else if (reply->type != REDIS_REPLY_NIL) {
      note_error(reply->type == REDIS_REPLY_ERROR ? reply->str : "a reply of an unexpected type");
      return;
    }
    ++result_.reads;
    std::optional<std::string> fault;
    try {
      fault = find_fault(orders_, subject, parse_value(json), asked.floors, ceilings);
    } catch (const BadAnswer& bad) {
      fault = subject.key + ": " + bad.what();
    }
    if (!fault) return;
    if (result_.stale++ == 0) result_.first_fault = *fault;
    if (options_.soak) show(subject, *fault);
    orders_.stale.fetch_add(1, std::memory_order_relaxed);
  }

  // When, and who writes it: whoever looks for the reason needs both.
  void show(const Subject& subject, const std::string& fault) const {
    std::string line = std::to_string(std::chrono::system_clock::now().time_since_epoch() /
                                      std::chrono::milliseconds(1)) +
                       " ms: " + fault + "; writers";
    for (std::size_t i = 0; i < subject.count; ++i) {
      const auto number = static_cast<std::size_t>(orders_.id(subject.index + i)) - 1;
      line += " " + std::to_string(number % options_.writers);
    }
    std::fputs((line + "\n").c_str(), stderr);
  }

  void note_error(const char* what) {
    if (result_.errors++ == 0) result_.first_error = what;
  }

  const Options& options_;
  Orders& orders_;
  std::mt19937_64 random_;
  std::unique_ptr<Redis> connection_;
  std::vector<std::vector<Subject>> subjects_;  // Of one kind each.
  std::vector<Asked> asked_;
  bool forgotten_ = false;
  ReaderResult result_;
};

constexpr std::uint64_t probe_number = 1'000;
constexpr std::chrono::milliseconds probe_pause{2};

}  // namespace

ReaderResult run_reader(const Options& options,
                        Orders& orders,
                        unsigned number,
                        const std::atomic<bool>& stop) {
  return Reader(options, orders, number).run(stop, [](Reader& reader) { reader.read_pipeline(); });
}

ProbeResult run_probe(const Options& options, Orders& orders, const std::atomic<bool>& stop) {
  ProbeResult probed;
  probed.result = Reader(options, orders, probe_number).run(stop, [&](Reader& reader) {
    reader.probe(probed.hits, probed.misses);
    std::this_thread::sleep_for(probe_pause);
  });
  return probed;
}

}  // namespace checker
