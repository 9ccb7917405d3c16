#include "test/checker/readers.h"

#include "test/checker/connections.h"

#include <charconv>
#include <memory>
#include <random>
#include <string_view>
#include <thread>
#include <vector>

namespace checker {
namespace {

using Clock = std::chrono::steady_clock;

// One read that was asked for and not answered yet.
struct Asked {
  std::size_t index = 0;
  std::int64_t floor = 0;
  bool as_hash = false;
};

std::int64_t to_number(std::string_view text) {
  std::int64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc()) throw std::runtime_error("no revision in: " + std::string(text));
  return value;
}

// The revision in the JSON object that GET gives, or in the field that HGET gives.
std::int64_t to_revision(std::string_view text, bool as_hash) {
  if (as_hash) return to_number(text);
  constexpr std::string_view name = "\"revision\":";
  const std::size_t at = text.find(name);
  if (at == std::string_view::npos)
    throw std::runtime_error("no revision in: " + std::string(text));
  return to_number(text.substr(at + name.size()));
}

class Reader {
 public:
  Reader(const Options& options, Orders& orders, std::uint64_t number)
      : options_(options), orders_(orders), random_(options.seed * 7'919 + number) {}

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
    for (const Asked& asked : asked_)
      check(asked);
    orders_.reads.fetch_add(asked_.size(), std::memory_order_relaxed);
  }

  void probe(Latencies& hits, Latencies& misses) {
    const std::size_t index = pick();
    connection_->command({"DEL", Orders::key(index)});
    asked_.clear();
    for (Latencies* const latencies : {&misses, &hits}) {
      const auto begin = Clock::now();
      ask(index, false);
      check(asked_.back());
      latencies->add(Clock::now() - begin);
    }
    orders_.reads.fetch_add(2, std::memory_order_relaxed);
  }

 private:
  std::size_t pick() {
    const double share = std::uniform_real_distribution<double>(0, 1)(random_);
    return std::min(static_cast<std::size_t>(share * share * static_cast<double>(orders_.size())),
                    orders_.size() - 1);
  }

  void ask(std::size_t index, bool as_hash) {
    asked_.push_back({index, orders_[index].acknowledged.load(std::memory_order_seq_cst), as_hash});
    if (as_hash) {
      connection_->append({"HGET", Orders::key(index), "revision"});
    } else {
      connection_->append({"GET", Orders::key(index)});
    }
  }

  void check(const Asked& asked) {
    const Redis::Reply reply = connection_->reply();
    const std::int64_t ceiling = orders_[asked.index].issued.load(std::memory_order_seq_cst);
    std::optional<std::int64_t> revision;
    if (reply->type == REDIS_REPLY_STRING) {
      revision = to_revision({reply->str, reply->len}, asked.as_hash);
    } else if (reply->type != REDIS_REPLY_NIL) {
      note_error(reply->type == REDIS_REPLY_ERROR ? reply->str : "a reply of an unexpected type");
      return;
    }
    ++result_.reads;
    const auto fault = find_fault(asked.index, revision, asked.floor, ceiling);
    if (!fault) return;
    if (result_.stale++ == 0) result_.first_fault = *fault;
    orders_.stale.fetch_add(1, std::memory_order_relaxed);
  }

  void note_error(const char* what) {
    if (result_.errors++ == 0) result_.first_error = what;
  }

  const Options& options_;
  Orders& orders_;
  std::mt19937_64 random_;
  std::unique_ptr<Redis> connection_;
  std::vector<Asked> asked_;
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
