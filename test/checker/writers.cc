#include "test/checker/writers.h"

#include "test/checker/connections.h"

#include <array>
#include <memory>
#include <random>
#include <thread>

namespace checker {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds error_pause{20};

// While it lives, its thread is waited for when all are to rest.
class Player {
 public:
  Player(Conductor& conductor, bool async) : conductor_(conductor), async_(async) {
    conductor_.enter();
    if (async_) conductor_.enter_async();
  }
  ~Player() {
    conductor_.leave();
    if (async_) conductor_.leave_async();
  }
  Player(const Player&) = delete;
  Player& operator=(const Player&) = delete;

 private:
  Conductor& conductor_;
  bool async_;
};

class Writer {
 public:
  Writer(const Options& options, Orders& orders, Conductor& conductor, unsigned number)
      : options_(options),
        orders_(orders),
        conductor_(conductor),
        number_(number),
        way_(number < options.direct_writers ? Way::direct : Way::door),
        async_(way_ == Way::door && number < options.direct_writers + options.async_writers),
        random_(options.seed * 1'000 + number) {}

  WriterResult run(const std::atomic<bool>& stop) {
    const Player player(conductor_, async_);
    while (!stop) {
      conductor_.rest_if_told();
      try {
        if (!session_) connect();
        if (async_) choose_durability();
        // Mostly one change a transaction, which commits with the statement; sometimes several.
        if (random_() % 8 == 0) {
          change_several();
        } else {
          change_one();
        }
        if (async_ && durable_) conductor_.say_safe(said_safe_);
      } catch (const ConnectionError& error) {
        if (result_.errors++ == 0) result_.first_error = error.what();
        session_.reset();
        if (!options_.faults) return std::move(result_);
        std::this_thread::sleep_for(error_pause);
      }
    }
    return std::move(result_);
  }

 private:
  void connect() {
    auto session = std::make_unique<Postgres>(options_, way_);
    // A statement that outlives its client must not undo a later one.
    session->run(
        "PREPARE change (bigint, bigint) AS UPDATE orders SET revision = $1 WHERE id = $2 AND "
        "revision < $1");
    session->run("PREPARE take_out (bigint) AS DELETE FROM orders WHERE id = $1");
    session->run(
        "PREPARE put_in (bigint, bigint) AS INSERT INTO orders (id, customer_id, revision) VALUES "
        "($2, 1, $1) "
        "ON CONFLICT (id) DO UPDATE SET revision = $1");
    if (options_.soak) {
      session->run(
          "PREPARE change_member (bigint, bigint) AS UPDATE soak_members SET revision = $1 "
          "WHERE id = $2 AND revision < $1");
    }
    session_ = std::move(session);
    durable_ = true;
  }

  // Does not wait for the disk, unless the database may crash soon.
  void choose_durability() {
    const bool calm = conductor_.is_calm();
    if (!calm) said_safe_ = false;
    if (durable_ == calm) return;
    session_->run(calm ? "SET synchronous_commit = on" : "SET synchronous_commit = off");
    durable_ = calm;
  }

  // Mine are those of every `writers`th index; the first ones are changed more often.
  std::size_t pick() {
    Kind kind = Kind::order;
    if (options_.soak && random_() % 3 == 0) kind = random_() % 2 == 0 ? Kind::pair : Kind::member;
    const std::size_t mine = orders_.count(kind) / options_.writers;
    const double share = std::uniform_real_distribution<double>(0, 1)(random_);
    const auto place = static_cast<std::size_t>(share * share * static_cast<double>(mine));
    return orders_.first(kind) + std::min(place, mine - 1) * options_.writers + number_;
  }

  // Sends the change that brings the order to its next revision.
  std::int64_t send_change(std::size_t index) {
    Order& order = orders_[index];
    const std::int64_t next = order.issued.load(std::memory_order_relaxed) + 1;
    order.issued.store(next, std::memory_order_seq_cst);
    const std::int64_t id = orders_.id(index);
    switch (orders_.kind(index)) {
      case Kind::pair:
        step(index,
             next,
             "UPDATE soak_left SET revision = $r WHERE id = $i; "
             "UPDATE soak_right SET other = $r WHERE left_id = $i");
        break;
      case Kind::member:
        session_->execute("change_member", {next, id});
        break;
      case Kind::order:
      case Kind::part:
      case Kind::side:
      case Kind::defined:
      case Kind::bulk:
        if (!orders_.comes_and_goes(index)) {
          session_->execute("change", {next, id});
        } else if (options_.soak) {
          step(index,
               next,
               next % 2 != 0 ? "DELETE FROM orders WHERE id = $i"
                             : "INSERT INTO orders (id, customer_id, revision) VALUES ($i, 1, $r) "
                               "ON CONFLICT (id) DO UPDATE SET revision = $r");
        } else if (next % 2 != 0) {
          session_->execute("take_out", {id});
        } else {
          session_->execute("put_in", {next, id});
        }
    }
    return next;
  }

  // Several statements as one, so in one transaction, which fails where a later one overtook it.
  void step(std::size_t index, std::int64_t revision, std::string statements) {
    const auto fill_in = [&](const std::string& name, std::int64_t value) {
      for (std::size_t at; (at = statements.find(name)) != std::string::npos;)
        statements.replace(at, name.size(), std::to_string(value));
    };
    fill_in("$r", revision);
    fill_in("$i", orders_.id(index));
    session_->run("SELECT soak_step(" + std::to_string(index) + ", " + std::to_string(revision) +
                  "); " + statements);
  }

  void acknowledge(std::size_t index, std::int64_t revision) {
    // What went past Meridian is not promised to be seen unless the database waits as well.
    if (way_ == Way::direct && !options_.direct_floors) return;
    orders_[index].acknowledged.store(revision, std::memory_order_seq_cst);
  }

  void count_commit(Clock::duration took) {
    result_.commits.add(took);
    ++result_.kinds[way_ == Way::direct ? "around the door"
                    : durable_          ? "through the door"
                                        : "synchronous_commit=off"];
    orders_.commits.fetch_add(1, std::memory_order_relaxed);
  }

  void change_one() {
    const std::size_t index = pick();
    const auto begin = Clock::now();
    const std::int64_t revision = send_change(index);
    acknowledge(index, revision);
    count_commit(Clock::now() - begin);
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
    count_commit(Clock::now() - begin);
  }

  const Options& options_;
  Orders& orders_;
  Conductor& conductor_;
  unsigned number_;
  Way way_;
  bool async_;
  bool durable_ = true;
  bool said_safe_ = false;
  std::mt19937_64 random_;
  std::unique_ptr<Postgres> session_;
  WriterResult result_;
};

struct Whole {
  const char* name;
  const char* function;
  std::chrono::milliseconds pause;  // On average.
};

Whole whole(Kind kind) {
  using std::chrono::milliseconds;
  switch (kind) {
    case Kind::part:
      return {"partition moved", "soak_move_part", milliseconds(1'500)};
    case Kind::side:
      return {"table truncated", "soak_empty_side", milliseconds(400)};
    case Kind::defined:
      return {"column rewritten", "soak_define", milliseconds(2'500)};
    case Kind::order:
    case Kind::pair:
    case Kind::member:
    case Kind::bulk:
      break;
  }
  return {"large transaction", "soak_change_bulk", milliseconds(15'000)};
}

}  // namespace

WriterResult run_writer(const Options& options,
                        Orders& orders,
                        Conductor& conductor,
                        unsigned number,
                        const std::atomic<bool>& stop) {
  return Writer(options, orders, conductor, number).run(stop);
}

WriterResult run_whole_writer(const Options& options,
                              Orders& orders,
                              Conductor& conductor,
                              Kind kind,
                              const std::atomic<bool>& stop) {
  WriterResult result;
  const Player player(conductor, false);
  const std::size_t index = orders.first(kind);
  Order& order = orders[index];
  const Whole what = whole(kind);
  std::mt19937_64 random(options.seed * 31 + index);
  std::unique_ptr<Postgres> session;
  while (!stop) {
    const auto pause = what.pause * std::uniform_int_distribution<int>(10, 200)(random) / 100;
    for (const auto end = Clock::now() + pause; !stop && Clock::now() < end;) {
      conductor.rest_if_told();
      std::this_thread::sleep_for(error_pause);
    }
    if (stop) break;
    conductor.rest_if_told();
    try {
      if (!session) session = std::make_unique<Postgres>(options, Way::door);
      const std::int64_t next = order.issued.load(std::memory_order_relaxed) + 1;
      order.issued.store(next, std::memory_order_seq_cst);
      const auto begin = Clock::now();
      session->query(std::string("SELECT ") + what.function + "(" + std::to_string(index) + ", " +
                     std::to_string(next) + ")");
      order.acknowledged.store(next, std::memory_order_seq_cst);
      result.commits.add(Clock::now() - begin);
      ++result.kinds[what.name];
      orders.commits.fetch_add(1, std::memory_order_relaxed);
    } catch (const ConnectionError& error) {
      if (result.errors++ == 0) result.first_error = error.what();
      session.reset();
      if (!options.faults) break;
    }
  }
  return result;
}

}  // namespace checker
