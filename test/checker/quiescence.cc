#include "test/checker/quiescence.h"

#include "test/checker/connections.h"

#include <chrono>
#include <cstdio>
#include <iostream>
#include <map>
#include <optional>
#include <poll.h>
#include <thread>
#include <unistd.h>

namespace checker {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds rest_within{60};
constexpr std::chrono::milliseconds pause{50};

using Truth = std::map<std::string, Revisions>;

// What the queries of the views would give now, of all rows at one moment.
Truth read_truth(const Orders& orders, const Postgres& session) {
  Truth truth;
  session.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
  const auto add = [&](const std::string& name, const std::string& query) {
    for (const std::vector<std::string>& row : session.query(query)) {
      std::vector<std::int64_t>& revisions = truth[name + ":" + row[0]].emplace();
      for (std::size_t i = 1; i < row.size(); ++i)
        revisions.push_back(std::stoll(row[i]));
    }
  };
  add("order",
      "SELECT id, revision FROM orders WHERE id <= " + std::to_string(orders.count(Kind::order)));
  add("pair",
      "SELECT l.id, l.revision, r.other FROM soak_left AS l JOIN soak_right AS r ON r.left_id = "
      "l.id");
  std::string members = "SELECT group_id";
  for (std::size_t i = 1; i <= Orders::members_per_group; ++i)
    members += ", max(revision) FILTER (WHERE id = " + std::to_string(Orders::members_per_group) +
               " * (group_id - 1) + " + std::to_string(i) + ")";
  add("group", members + " FROM soak_members GROUP BY group_id");
  add("part", "SELECT id, revision FROM soak_parts");
  add("side", "SELECT id, revision FROM soak_side");
  add("defined", "SELECT id, revision FROM soak_defined");
  add("bulk",
      "SELECT id, revision FROM soak_bulk WHERE id <= " + std::to_string(Orders::keys_of_a_whole));
  session.run("COMMIT");
  return truth;
}

// A statement may outlive its client, and its answer that nobody waited for.
void wait_until_idle(const Postgres& session, Clock::time_point end) {
  while (session
             .query("SELECT 1 FROM pg_stat_activity WHERE backend_type = 'client backend' AND "
                    "state <> 'idle' AND usename = 'checkout' LIMIT 1")
             .size() > 0) {
    if (Clock::now() > end) throw ConnectionError("statements do not end");
    std::this_thread::sleep_for(pause);
  }
}

void compare(const Options& options, Orders& orders, Quiescence& result, Clock::time_point end) {
  const Postgres direct(options, Way::direct);
  wait_until_idle(direct, end);
  // Once this is acknowledged, the feed has brought all that was committed before.
  const Postgres door(options, Way::door);
  door.run("UPDATE soak_ledger SET revision = revision WHERE id = 0");

  const Truth before = read_truth(orders, direct);
  Redis redis(options);
  std::uint64_t compared = 0;
  std::uint64_t poisoned = 0;
  std::string first_fault;
  std::vector<std::pair<std::string, Revisions>> answers;
  for (const Kind kind : Orders::kinds) {
    for (const Subject& subject : subjects(orders, kind)) {
      const Redis::Reply reply = redis.command({"GET", subject.key});
      if (reply->type == REDIS_REPLY_ERROR) throw ConnectionError(reply->str);
      std::optional<std::string> json;
      if (reply->type == REDIS_REPLY_STRING) json = std::string(reply->str, reply->len);
      answers.emplace_back(subject.key, parse_value(json));
    }
  }
  const Truth after = read_truth(orders, direct);
  const auto find = [](const Truth& truth, const std::string& key) {
    const auto at = truth.find(key);
    return at == truth.end() ? Revisions() : at->second;
  };
  const auto show = [](const Revisions& revisions) {
    if (!revisions) return std::string("nothing");
    std::string text;
    for (const std::int64_t revision : *revisions)
      text += (text.empty() ? "" : ",") + std::to_string(revision);
    return text;
  };
  for (const auto& [key, answer] : answers) {
    const Revisions truth = find(before, key);
    if (truth != find(after, key)) continue;  // Something ran after all; it proves nothing.
    ++compared;
    if (answer == truth) continue;
    if (poisoned++ == 0)
      first_fault = key + ": the cache has " + show(answer) + ", the table " + show(truth);
  }
  result.compared += compared;
  if (result.poisoned == 0) result.first_fault = first_fault;
  result.poisoned += poisoned;
}

}  // namespace

void compare_at_rest(const Options& options,
                     Orders& orders,
                     Conductor& conductor,
                     Quiescence& result) {
  const auto end = Clock::now() + rest_within;
  const auto give_up = [&](const std::string& why) {
    if (result.given_up++ == 0) result.first_error = why;
  };
  if (!conductor.rest(rest_within)) return give_up("the writers did not come to rest");
  for (;;) {
    try {
      compare(options, orders, result, end);
      break;
    } catch (const BadAnswer& bad) {
      ++result.poisoned;
      result.first_fault = bad.what();
      break;
    } catch (const ConnectionError& error) {
      // After a fault the node may still be coming up.
      if (Clock::now() > end) {
        give_up(error.what());
        break;
      }
      std::this_thread::sleep_for(pause);
    }
  }
  conductor.go_on();
}

void take_commands(const Options& options,
                   Orders& orders,
                   Conductor& conductor,
                   Quiescence& result,
                   std::atomic<bool>& stop) {
  const auto answer = [](const std::string& line) {
    std::puts(line.c_str());
    std::fflush(stdout);
  };
  std::string line;
  while (!stop) {
    ::pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    if (::poll(&input, 1, 200) <= 0) continue;
    if (!std::getline(std::cin, line)) return;
    if (line == "calm") {
      answer(conductor.calm(std::chrono::seconds(20)) ? "calm" : "not calm");
    } else if (line == "wild") {
      conductor.be_wild();
      answer("wild");
    } else if (line == "stop") {
      stop = true;
      answer("stopping");
    } else if (line == "found") {
      answer(std::to_string(orders.stale.load() + result.poisoned));
    } else if (line == "compare") {
      compare_at_rest(options, orders, conductor, result);
      answer("compared " + std::to_string(result.compared) + ", poisoned " +
             std::to_string(result.poisoned));
    } else {
      answer("unknown command");
    }
  }
}

}  // namespace checker
