#include "test/checker/writers.h"

#include "test/checker/connections.h"

#include <array>
#include <memory>
#include <random>
#include <thread>

namespace checker {
namespace {

using Clock = std::chrono::steady_clock;

class Writer {
 public:
  Writer(const Options& options, Orders& orders, unsigned number)
      : options_(options),
        orders_(orders),
        number_(number),
        random_(options.seed * 1'000 + number) {}

  WriterResult run(const std::atomic<bool>& stop) {
    while (!stop) {
      try {
        if (!session_) connect();
        // Mostly one change a transaction, which commits with the statement; sometimes several.
        if (random_() % 8 == 0) {
          change_several();
        } else {
          change_one();
        }
      } catch (const ConnectionError& error) {
        if (result_.errors++ == 0) result_.first_error = error.what();
        session_.reset();
        if (!options_.faults) return std::move(result_);
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      }
    }
    return std::move(result_);
  }

 private:
  void connect() {
    auto session = std::make_unique<Postgres>(options_);
    session->run(
        "PREPARE change (bigint, bigint) AS UPDATE orders SET revision = $1 WHERE id = $2");
    session->run("PREPARE take_out (bigint) AS DELETE FROM orders WHERE id = $1");
    session->run(
        "PREPARE put_in (bigint, bigint) AS INSERT INTO orders (id, customer_id, revision) VALUES "
        "($2, 1, $1) "
        "ON CONFLICT (id) DO UPDATE SET revision = $1");
    session_ = std::move(session);
  }

  // Mine are those of every `writers`th index; the first ones are changed more often.
  std::size_t pick() {
    const std::size_t mine = orders_.size() / options_.writers;
    const double share = std::uniform_real_distribution<double>(0, 1)(random_);
    const auto place = static_cast<std::size_t>(share * share * static_cast<double>(mine));
    return std::min(place, mine - 1) * options_.writers + number_;
  }

  // Sends the change that brings the order to its next revision.
  std::int64_t send_change(std::size_t index) {
    Order& order = orders_[index];
    const std::int64_t next = order.issued.load(std::memory_order_relaxed) + 1;
    order.issued.store(next, std::memory_order_seq_cst);
    const std::int64_t id = Orders::id(index);
    if (!Orders::comes_and_goes(index)) {
      session_->execute("change", {next, id});
    } else if (next % 2 != 0) {
      session_->execute("take_out", {id});
    } else {
      session_->execute("put_in", {next, id});
    }
    return next;
  }

  void acknowledge(std::size_t index, std::int64_t revision) {
    orders_[index].acknowledged.store(revision, std::memory_order_seq_cst);
  }

  void change_one() {
    const std::size_t index = pick();
    const auto begin = Clock::now();
    const std::int64_t revision = send_change(index);
    acknowledge(index, revision);
    result_.commits.add(Clock::now() - begin);
    orders_.commits.fetch_add(1, std::memory_order_relaxed);
  }

  void change_several() {
    std::array<std::size_t, 3> indexes{pick(), pick(), pick()};
    std::array<std::int64_t, 3> revisions{};
    session_->run("BEGIN");
    for (std::size_t i = 0; i < indexes.size(); ++i)
      revisions[i] = send_change(indexes[i]);
    const auto begin = Clock::now();
    session_->run("COMMIT");
    for (std::size_t i = 0; i < indexes.size(); ++i)
      acknowledge(indexes[i], revisions[i]);
    result_.commits.add(Clock::now() - begin);
    orders_.commits.fetch_add(1, std::memory_order_relaxed);
  }

  const Options& options_;
  Orders& orders_;
  unsigned number_;
  std::mt19937_64 random_;
  std::unique_ptr<Postgres> session_;
  WriterResult result_;
};

}  // namespace

WriterResult run_writer(const Options& options,
                        Orders& orders,
                        unsigned number,
                        const std::atomic<bool>& stop) {
  return Writer(options, orders, number).run(stop);
}

}  // namespace checker
