#include "test/checker/orders.h"

#include "test/checker/connections.h"

#include <charconv>

namespace checker {
namespace {

constexpr std::size_t pairs_count = 256;
constexpr std::size_t members_count = 256;

std::size_t soak_size() {
  return pairs_count + members_count + 4;
}

std::int64_t to_number(std::string_view text, std::string_view json) {
  std::int64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc()) throw BadAnswer("no revision in: " + std::string(json));
  return value;
}

std::optional<std::string_view> after(std::string_view json, std::string_view name) {
  const std::size_t at = json.find(name);
  if (at == std::string_view::npos) return std::nullopt;
  return json.substr(at + name.size());
}

}  // namespace

Orders::Orders(const Options& options)
    : options_(options), orders_(options.orders + (options.soak ? soak_size() : 0)) {}

std::size_t Orders::count(Kind kind) const noexcept {
  if (kind == Kind::order) return options_.orders;
  if (!options_.soak) return 0;
  if (kind == Kind::pair) return pairs_count;
  return kind == Kind::member ? members_count : 1;
}

std::size_t Orders::first(Kind kind) const noexcept {
  std::size_t first = 0;
  for (const Kind each : kinds) {
    if (each == kind) break;
    first += count(each);
  }
  return first;
}

Kind Orders::kind(std::size_t index) const noexcept {
  for (const Kind each : kinds) {
    if (index < first(each) + count(each)) return each;
  }
  return Kind::bulk;
}

void Orders::prepare() {
  const Postgres session(options_, Way::door);
  const std::string last = std::to_string(options_.orders);
  // Orders that an earlier run left out are made again.
  session.run("INSERT INTO orders (id, customer_id) SELECT n, 1 FROM generate_series(1, " + last +
              ") AS n ON CONFLICT (id) DO NOTHING");
  session.run("DELETE FROM order_lines WHERE order_id <= " + last + " AND (order_id - 1) % 8 = 7");
  session.run("UPDATE orders SET revision = 0 WHERE id <= " + last);
  if (!options_.soak) return;
  session.run("INSERT INTO soak_ledger SELECT n FROM generate_series(0, " +
              std::to_string(size() - 1) + ") AS n");
}

std::vector<Subject> subjects(const Orders& orders, Kind kind) {
  std::vector<Subject> found;
  if (orders.count(kind) == 0) return found;
  const std::size_t first = orders.first(kind);
  const auto whole = [&](const std::string& name) {
    for (std::int64_t i = 1; i <= Orders::keys_of_a_whole; ++i)
      found.push_back({name + ":" + std::to_string(i), first, 1});
  };
  switch (kind) {
    case Kind::order:
    case Kind::pair:
      for (std::size_t i = 0; i < orders.count(kind); ++i)
        found.push_back(
            {(kind == Kind::order ? "order:" : "pair:") + std::to_string(i + 1), first + i, 1});
      break;
    case Kind::member:
      for (std::size_t i = 0; i < orders.count(kind); i += Orders::members_per_group)
        found.push_back({"group:" + std::to_string(i / Orders::members_per_group + 1),
                         first + i,
                         Orders::members_per_group});
      break;
    case Kind::part:
      whole("part");
      break;
    case Kind::side:
      whole("side");
      break;
    case Kind::defined:
      whole("defined");
      break;
    case Kind::bulk:
      whole("bulk");
      break;
  }
  return found;
}

Revisions parse_value(std::optional<std::string_view> json) {
  if (!json) return std::nullopt;
  std::vector<std::int64_t> revisions;
  if (auto list = after(*json, "\"revisions\":[")) {
    const std::size_t end = list->find(']');
    if (end == std::string_view::npos)
      throw BadAnswer("a list without an end: " + std::string(*json));
    std::string_view rest = list->substr(0, end);
    while (!rest.empty()) {
      const std::size_t comma = rest.find(',');
      revisions.push_back(to_number(rest.substr(0, comma), *json));
      rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    }
    return revisions;
  }
  const auto revision = after(*json, "\"revision\":");
  if (!revision) throw BadAnswer("no revision in: " + std::string(*json));
  revisions.push_back(to_number(*revision, *json));
  if (const auto other = after(*json, "\"other\":")) revisions.push_back(to_number(*other, *json));
  return revisions;
}

std::optional<std::string> find_fault(const Orders& orders,
                                      const Subject& subject,
                                      const Revisions& revisions,
                                      std::span<const std::int64_t> floors,
                                      std::span<const std::int64_t> ceilings) {
  std::size_t at = 0;
  const auto say = [&](const std::string& what) {
    return subject.key + ": " + what + ", acknowledged before was revision " +
           std::to_string(floors[at]) + ", written at most " + std::to_string(ceilings[at]);
  };
  if (!revisions) {
    // Absent: some odd revision from floor to ceiling has to account for it.
    if (!orders.comes_and_goes(subject.index)) return say("read nothing, though it never goes");
    const std::int64_t first_odd = floors[0] % 2 != 0 ? floors[0] : floors[0] + 1;
    if (first_odd > ceilings[0]) return say("read nothing");
    return std::nullopt;
  }
  const bool pair = orders.kind(subject.index) == Kind::pair;
  if (revisions->size() != (pair ? 2 : subject.count))
    return say("read " + std::to_string(revisions->size()) + " revisions");
  if (pair && revisions->front() != revisions->back())
    return say("read revision " + std::to_string(revisions->front()) + " joined with " +
               std::to_string(revisions->back()));
  for (at = 0; at < subject.count; ++at) {
    const std::int64_t revision = (*revisions)[at];
    if (revision < floors[at]) return say("read revision " + std::to_string(revision));
    if (revision > ceilings[at])
      return say("read revision " + std::to_string(revision) + " from the future");
    if (orders.comes_and_goes(subject.index) && revision % 2 != 0)
      return say("read revision " + std::to_string(revision) + ", at which it does not exist");
  }
  return std::nullopt;
}

}  // namespace checker
