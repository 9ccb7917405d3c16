// token, revoke, psql and redis: identities from the command line.

#include "app/commands/command_line.h"
#include "engines/data_folder.h"
#include "engines/secret_file.h"
#include "wire/json/writer.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <unistd.h>

namespace meridian {
namespace {

struct TokenOptions {
  std::string subject;
  std::string audience;
  std::string ttl;
  std::vector<std::string> claims;
};

// The part of a token that says who it is for, as JSON text.
std::string to_claims(std::string_view token) {
  const std::size_t first = token.find('.');
  const std::size_t second = token.find('.', first + 1);
  std::string text;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : token.substr(first + 1, second - first - 1)) {
    const std::string_view alphabet =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    bits = bits << 6 | static_cast<std::uint32_t>(alphabet.find(c));
    if ((count += 6) >= 8) text += static_cast<char>(bits >> (count -= 8) & 0xff);
  }
  return text;
}

Result<json::Value> mint(const CommandLine& line, const TokenOptions& options) {
  MERIDIAN_TRY(const std::string folder, line.data_folder());
  json::Value::Object body{{"subject", json::Value(options.subject)}};
  if (!options.audience.empty()) body.push_back({"audience", json::Value(options.audience)});
  if (!options.ttl.empty()) {
    MERIDIAN_TRY(const Duration ttl, parse_duration_argument(options.ttl));
    body.push_back(
        {"ttl_seconds",
         json::Value(std::int64_t{std::chrono::floor<std::chrono::seconds>(ttl).count()})});
  }
  json::Value::Object claims;
  for (const std::string& claim : options.claims) {
    const std::size_t sign = claim.find('=');
    if (sign == std::string::npos || sign == 0) {
      return fail(Errc::invalid, "--claim is name=value, not " + claim);
    }
    // The same name again makes a list.
    const std::string name = claim.substr(0, sign);
    json::Value value(claim.substr(sign + 1));
    const auto known = std::ranges::find(claims, name, &json::Member::name);
    if (known == claims.end()) {
      claims.push_back({name, std::move(value)});
    } else if (const auto* const list = known->value.array()) {
      json::Value::Array longer = *list;
      longer.push_back(std::move(value));
      known->value = json::Value(std::move(longer));
    } else {
      known->value = json::Value(json::Value::Array{known->value, std::move(value)});
    }
  }
  if (!claims.empty()) body.push_back({"claims", json::Value(std::move(claims))});
  return AdminClient(folder).post("token", json::Value(std::move(body)));
}

void add_token_options(CLI::App& command, TokenOptions& options, bool required) {
  auto* const subject = command.add_option("--subject", options.subject, "Who the token is for");
  if (required) subject->required();
  command.add_option("--audience", options.audience, "Whom it is for; this node unless given");
  command.add_option(
      "--ttl", options.ttl, "How long it is good, such as 5m; token.ttl_default unless given");
  command.add_option(
      "--claim", options.claims, "A claim name=value; the same name again makes a list");
}

// Where a running node's door is.
Result<std::string> door_address(const std::string& folder, std::string_view door) {
  MERIDIAN_TRY(const auto holder, DataFolder::holder(folder));
  if (holder) {
    for (const auto& [name, address] : holder->doors) {
      if (name == door) return address;
    }
  }
  return fail(Errc::unavailable, "no node with a " + std::string(door) + " door runs on " + folder);
}

int execute(std::vector<std::string> arguments) {
  std::vector<char*> pointers;
  for (std::string& argument : arguments)
    pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  ::execvp(pointers.front(), pointers.data());
  return complain(Error(Errc::not_found, arguments.front() + ": " + std::strerror(errno)));
}

struct ClientOptions {
  TokenOptions token;
  std::string given_token_variable;  // The name of an environment variable.
  std::string role;
  std::string database;
  bool owner = false;
  std::vector<std::string> arguments;
};

Result<std::string> token_for(const CommandLine& line, const ClientOptions& options) {
  if (!options.given_token_variable.empty()) {
    const char* const text = std::getenv(options.given_token_variable.c_str());
    if (!text) return fail(Errc::invalid, "the environment has no " + options.given_token_variable);
    return text;
  }
  if (options.token.subject.empty()) return fail(Errc::invalid, "--subject says as whom");
  MERIDIAN_TRY(const json::Value minted, mint(line, options.token));
  MERIDIAN_TRY(const std::string_view token, minted.string_at("token"));
  return std::string(token);
}

// Host and port of an address such as 127.0.0.1:6432.
std::pair<std::string, std::string> split(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
  if (host == "0.0.0.0" || host == "::") host = "127.0.0.1";
  return {host, address.substr(colon + 1)};
}

int run_psql(const CommandLine& line, const ClientOptions& options) {
  auto folder = line.data_folder();
  if (!folder) return complain(folder.error());
  std::vector<std::string> arguments{"psql"};
  std::string database = options.database;
  // These would lead elsewhere than where the token belongs.
  for (const char* name : {"PGSERVICE", "PGHOSTADDR", "PGPASSFILE"})
    ::unsetenv(name);
  if (options.owner) {
    // Straight into the owned server, past the door: for making schemas. Files are only the owner's
    // to read.
    const std::string file = *folder + "/keys/postgres.password";
    auto secret = load_secret(file);
    if (!secret) return complain(secret.error());
    if (!*secret)
      return complain(Error(Errc::not_found, file + " is missing: this node owns no PostgreSQL"));
    ::setenv("PGPASSWORD", std::string((*secret)->reveal()).c_str(), 1);
    // The sockets' folder may be a link to one whose path is short enough for a socket.
    std::error_code ignored;
    const auto sockets = std::filesystem::canonical(*folder + "/run", ignored);
    ::setenv("PGHOST", sockets.c_str(), 1);
    ::setenv("PGPORT", "5432", 1);
    ::setenv("PGUSER", "meridian", 1);
    ::setenv("PGDATABASE", database.empty() ? "postgres" : database.c_str(), 1);
  } else {
    auto address = door_address(*folder, "postgres");
    if (!address) return complain(address.error());
    auto token = token_for(line, options);
    if (!token) return complain(token.error());
    const auto [host, port] = split(*address);
    ::setenv("PGPASSWORD", token->c_str(), 1);
    ::setenv("PGHOST", host.c_str(), 1);
    ::setenv("PGPORT", port.c_str(), 1);
    ::setenv("PGUSER", (options.role.empty() ? options.token.subject : options.role).c_str(), 1);
    if (!database.empty()) ::setenv("PGDATABASE", database.c_str(), 1);
  }
  arguments.insert(arguments.end(), options.arguments.begin(), options.arguments.end());
  return execute(std::move(arguments));
}

int run_redis(const CommandLine& line, const ClientOptions& options) {
  auto folder = line.data_folder();
  if (!folder) return complain(folder.error());
  auto address = door_address(*folder, "redis");
  if (!address) return complain(address.error());
  auto token = token_for(line, options);
  if (!token) return complain(token.error());
  const auto [host, port] = split(*address);
  // In the environment: arguments are for everybody to see.
  ::setenv("REDISCLI_AUTH", token->c_str(), 1);
  std::vector<std::string> arguments{"redis-cli", "-h", host, "-p", port, "--no-auth-warning"};
  if (!options.role.empty()) {
    arguments.emplace_back("--user");
    arguments.push_back(options.role);
  }
  arguments.insert(arguments.end(), options.arguments.begin(), options.arguments.end());
  return execute(std::move(arguments));
}

void add_client(CLI::App& program,
                CommandLine& line,
                int& code,
                const char* name,
                const char* text,
                int (*run)(const CommandLine&, const ClientOptions&),
                bool postgres) {
  auto options = std::make_shared<ClientOptions>();
  CLI::App* const command = program.add_subcommand(name, text);
  add_token_options(*command, options->token, false);
  command->add_option("--token-variable",
                      options->given_token_variable,
                      "Use the token in this environment variable");
  command->add_option("--role", options->role, "The wanted role, where the token has several");
  if (postgres) {
    command->add_option("--database", options->database, "The database");
    command->add_flag(
        "--owner", options->owner, "Straight into an owned server as its owner, to make schemas");
  }
  command->add_option("arguments", options->arguments, "For the client; write -- before them");
  command->footer(
      postgres ? "Example:\n  meridian psql --subject checkout --database shop -- -c 'SELECT 1'"
               : "Example:\n  meridian redis --subject storefront -- GET order:1");
  command->callback([&line, &code, options, run] { code = run(line, *options); });
}

}  // namespace

void add_token_commands(CLI::App& program, CommandLine& line, int& code) {
  {
    auto options = std::make_shared<TokenOptions>();
    CLI::App* const command =
        program.add_subcommand("token", "Mint a token of the node's own issuer");
    add_token_options(*command, *options, true);
    auto claims = std::make_shared<bool>(false);
    command->add_flag("--show-claims", *claims, "Print what the token says instead of the token");
    command->footer("Example:\n  meridian token --subject checkout --claim team=orders --ttl 5m");
    command->callback([&line, &code, options, claims] {
      auto minted = mint(line, *options);
      if (!minted) {
        code = complain(minted.error());
        return;
      }
      const std::string token(minted->string_at("token").value_or(""));
      if (*claims) {
        std::printf("%s\n", to_claims(token).c_str());
      } else if (line.json) {
        std::printf("%s\n", json::to_text(*minted).c_str());
      } else {
        std::printf("%s\n", token.c_str());
      }
    });
  }
  {
    struct Options {
      std::string subject, token_id, role, issuer, reason, duration;
    };
    auto options = std::make_shared<Options>();
    CLI::App* const command = program.add_subcommand(
        "revoke", "End the visits of an identity and refuse the tokens it has");
    command->add_option("--subject", options->subject, "By subject");
    command->add_option("--token-id", options->token_id, "By token id (jti)");
    command->add_option("--role", options->role, "By role");
    command->add_option("--issuer", options->issuer, "By issuer; narrows the others");
    command->add_option(
        "--for",
        options->duration,
        "Refuse newer tokens too, for so long; without it a later token is good again");
    command->add_option("--reason", options->reason, "For the trail, and for who is refused");
    command->footer("Example:\n  meridian revoke --subject checkout --reason 'key leaked'");
    command->callback([&line, &code, options] {
      auto folder = line.data_folder();
      if (!folder) {
        code = complain(folder.error());
        return;
      }
      json::Value::Object body{{"subject", json::Value(options->subject)},
                               {"token_id", json::Value(options->token_id)},
                               {"role", json::Value(options->role)},
                               {"issuer", json::Value(options->issuer)},
                               {"reason", json::Value(options->reason)}};
      if (!options->duration.empty()) {
        auto duration = parse_duration_argument(options->duration);
        if (!duration) {
          code = complain(duration.error());
          return;
        }
        body.push_back({"for_seconds",
                        json::Value(std::int64_t{
                            std::chrono::floor<std::chrono::seconds>(*duration).count()})});
      }
      auto revoked = AdminClient(*folder).post("revoke", json::Value(std::move(body)));
      if (!revoked) {
        code = complain(revoked.error());
        return;
      }
      if (line.json) {
        std::printf("%s\n", json::to_text(*revoked).c_str());
      } else {
        std::printf("revoked (%s)\n", std::string(revoked->string_at("id").value_or("")).c_str());
      }
    });
  }
  add_client(program,
             line,
             code,
             "psql",
             "Start psql through the postgres door with a fresh token",
             run_psql,
             true);
  add_client(program,
             line,
             code,
             "redis",
             "Start redis-cli through the redis door with a fresh token",
             run_redis,
             false);
}

}  // namespace meridian
