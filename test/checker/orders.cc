#include "test/checker/orders.h"

#include "test/checker/connections.h"

namespace checker {

Orders::Orders(const Options& options) : options_(options), orders_(options.orders) {}

void Orders::prepare() {
  const Postgres session(options_);
  const std::string last = std::to_string(id(orders_.size() - 1));
  // Orders that an earlier run left out are made again.
  session.run("INSERT INTO orders (id, customer_id) SELECT n, 1 FROM generate_series(1, " + last +
              ") AS n ON CONFLICT (id) DO NOTHING");
  session.run("DELETE FROM order_lines WHERE order_id <= " + last + " AND (order_id - 1) % 8 = 7");
  session.run("UPDATE orders SET revision = 0 WHERE id <= " + last);
}

std::optional<std::string> find_fault(std::size_t index,
                                      std::optional<std::int64_t> revision,
                                      std::int64_t floor,
                                      std::int64_t ceiling) {
  const auto say = [&](const std::string& what) {
    return Orders::key(index) + ": " + what + ", acknowledged before was revision " +
           std::to_string(floor) + ", written at most " + std::to_string(ceiling);
  };
  if (revision) {
    if (*revision < floor) return say("read revision " + std::to_string(*revision));
    if (*revision > ceiling)
      return say("read revision " + std::to_string(*revision) + " from the future");
    return std::nullopt;
  }
  // Absent: some odd revision from floor to ceiling has to account for it.
  if (!Orders::comes_and_goes(index)) return say("read nothing, though it never goes");
  const std::int64_t first_odd = floor % 2 != 0 ? floor : floor + 1;
  if (first_odd > ceiling) return say("read nothing");
  return std::nullopt;
}

}  // namespace checker
