#include "test/checker/connections.h"

#include <array>
#include <cstdio>

namespace checker {

std::string run_command(const std::string& command) {
  struct Close {
    void operator()(std::FILE* pipe) const noexcept { ::pclose(pipe); }
  };
  std::unique_ptr<std::FILE, Close> pipe(::popen(command.c_str(), "re"));
  if (!pipe) throw ConnectionError("cannot run " + command);
  std::string output;
  std::array<char, 4096> buffer{};
  while (const std::size_t size = std::fread(buffer.data(), 1, buffer.size(), pipe.get())) {
    output.append(buffer.data(), size);
  }
  while (!output.empty() && output.back() == '\n')
    output.pop_back();
  if (output.empty()) throw ConnectionError("no token was printed by: " + command);
  return output;
}

std::pair<std::string, int> split_address(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string::npos)
    throw std::runtime_error("an address is host:port, not " + address);
  return {address.substr(0, colon), std::stoi(address.substr(colon + 1))};
}

Postgres::Postgres(const Options& options, Way way) {
  if (way == Way::direct) {
    connection_.reset(::PQconnectdb(options.direct.c_str()));
    if (::PQstatus(connection_.get()) != CONNECTION_OK) {
      throw ConnectionError(::PQerrorMessage(connection_.get()));
    }
    return;
  }
  const auto [host, port] = split_address(options.postgres);
  const std::string token = run_command(options.writer_token);
  const std::string port_text = std::to_string(port);
  const std::array<const char*, 7> names{
      "host", "port", "dbname", "user", "password", "connect_timeout", nullptr};
  const std::array<const char*, 7> values{host.c_str(),
                                          port_text.c_str(),
                                          options.database.c_str(),
                                          options.role.c_str(),
                                          token.c_str(),
                                          "60",
                                          nullptr};
  connection_.reset(::PQconnectdbParams(names.data(), values.data(), 0));
  if (::PQstatus(connection_.get()) != CONNECTION_OK) {
    throw ConnectionError(::PQerrorMessage(connection_.get()));
  }
}

namespace {

struct Clear {
  void operator()(PGresult* result) const noexcept { ::PQclear(result); }
};

int check(PGconn* connection, PGresult* raw) {
  const std::unique_ptr<PGresult, Clear> result(raw);
  const ExecStatusType status = ::PQresultStatus(result.get());
  if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
    throw ConnectionError(::PQerrorMessage(connection));
  }
  const char* const count = ::PQcmdTuples(result.get());
  return *count == '\0' ? 0 : std::atoi(count);
}

}  // namespace

void Postgres::run(const std::string& statement) const {
  check(connection_.get(), ::PQexec(connection_.get(), statement.c_str()));
}

std::vector<std::vector<std::string>> Postgres::query(const std::string& statement) const {
  const std::unique_ptr<PGresult, Clear> result(::PQexec(connection_.get(), statement.c_str()));
  if (::PQresultStatus(result.get()) != PGRES_TUPLES_OK) {
    throw ConnectionError(::PQerrorMessage(connection_.get()));
  }
  std::vector<std::vector<std::string>> rows(static_cast<std::size_t>(::PQntuples(result.get())));
  for (std::size_t row = 0; row < rows.size(); ++row) {
    for (int column = 0; column < ::PQnfields(result.get()); ++column)
      rows[row].emplace_back(::PQgetvalue(result.get(), static_cast<int>(row), column));
  }
  return rows;
}

int Postgres::execute(const char* name, std::initializer_list<std::int64_t> values) const {
  std::vector<std::string> texts;
  for (const std::int64_t value : values)
    texts.push_back(std::to_string(value));
  std::vector<const char*> pointers;
  for (const std::string& text : texts)
    pointers.push_back(text.c_str());
  return check(connection_.get(),
               ::PQexecPrepared(connection_.get(),
                                name,
                                static_cast<int>(pointers.size()),
                                pointers.data(),
                                nullptr,
                                nullptr,
                                0));
}

Redis::Redis(const Options& options) {
  const auto [host, port] = split_address(options.redis);
  context_.reset(::redisConnectWithTimeout(host.c_str(), port, {60, 0}));
  if (!context_ || context_->err != 0) {
    throw ConnectionError(context_ ? context_->errstr : "out of memory");
  }
  ::redisSetTimeout(context_.get(), {60, 0});
  const Reply reply = command({"AUTH", run_command(options.reader_token)});
  if (reply->type == REDIS_REPLY_ERROR) throw ConnectionError(reply->str);
}

void Redis::append(const std::vector<std::string>& arguments) {
  std::vector<const char*> pointers;
  std::vector<std::size_t> sizes;
  for (const std::string& argument : arguments) {
    pointers.push_back(argument.data());
    sizes.push_back(argument.size());
  }
  ::redisAppendCommandArgv(
      context_.get(), static_cast<int>(arguments.size()), pointers.data(), sizes.data());
}

Redis::Reply Redis::reply() {
  void* reply = nullptr;
  if (::redisGetReply(context_.get(), &reply) != REDIS_OK) throw ConnectionError(context_->errstr);
  return Reply(static_cast<redisReply*>(reply));
}

}  // namespace checker
