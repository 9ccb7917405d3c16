#include "timeline/postgres/server_url.h"

#include "base/number.h"

#include <libpq-fe.h>

#include <memory>
#include <string_view>

namespace meridian {

Result<ServerAddress> parse_server_url(const std::string& url) {
  char* problem = nullptr;
  const std::unique_ptr<PQconninfoOption, void (*)(PQconninfoOption*)> options(
      ::PQconninfoParse(url.c_str(), &problem), ::PQconninfoFree);
  const std::unique_ptr<char, void (*)(void*)> owned_problem(problem, ::PQfreemem);
  if (!options) return fail(Errc::invalid, problem ? problem : "not a PostgreSQL URL");
  ServerAddress address;
  for (const PQconninfoOption* option = options.get(); option->keyword; ++option) {
    if (!option->val) continue;
    const std::string_view name = option->keyword;
    if (name == "host") address.host = option->val;
    if (name == "port") address.port = parse_number<std::uint16_t>(option->val).value_or(0);
    if (name == "user") address.user = option->val;
    if (name == "dbname") address.database = option->val;
    if (name == "sslmode") address.sslmode = option->val;
  }
  if (address.host.empty()) return fail(Errc::invalid, "the URL names no host");
  if (address.port == 0) return fail(Errc::invalid, "the URL's port is none");
  return address;
}

}  // namespace meridian
