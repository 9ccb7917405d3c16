#include "engines/nats_engine.h"

#include "base/number.h"
#include "engines/engine_answers.h"
#include "engines/engine_processes.h"
#include "engines/nats_config.h"
#include "engines/secret_file.h"
#include "engines/server_program.h"
#include "runtime/child.h"

#include <array>
#include <nlohmann/json.hpp>
#include <signal.h>
#include <string>
#include <vector>

namespace meridian {
namespace {

constexpr NatsVersion version_min{.major = 2, .minor = 9};
constexpr std::array<std::string_view, 3> places{
    "/usr/local/bin/nats-server", "/usr/bin/nats-server", "/usr/sbin/nats-server"};
constexpr ServerProgram nats_server{
    .name = "nats-server", .wanted = "nats-server 2.9 or newer", .places = places};
constexpr std::size_t ports_size_max = 4'096;
constexpr std::string_view config_name = "nats.conf";

// The ports files in the folder: one, but for those that killed servers left.
std::vector<std::filesystem::path> ports_files(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> found;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    if (at->path().extension() == ".ports") found.push_back(at->path());
  }
  return found;
}

}  // namespace

std::optional<NatsVersion> parse_nats_version(std::string_view version_text) noexcept {
  constexpr std::string_view before = ": v";
  const std::size_t at = version_text.find(before);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view version = version_text.substr(at + before.size());
  const std::size_t first_end = version.find('.');
  if (first_end == std::string_view::npos) return std::nullopt;
  const std::string_view rest = version.substr(first_end + 1);
  const auto major = parse_number<int>(version.substr(0, first_end));
  const auto minor = parse_number<int>(rest.substr(0, rest.find_first_not_of("0123456789")));
  if (!major || !minor) return std::nullopt;
  return NatsVersion{.major = *major, .minor = *minor};
}

std::optional<std::uint16_t> parse_nats_ports(std::string_view json) {
  const auto ports = nlohmann::json::parse(json, nullptr, false);
  if (!ports.is_object()) return std::nullopt;
  const auto found = ports.find("nats");
  if (found == ports.end() || !found->is_array() || found->empty() || !found->front().is_string()) {
    return std::nullopt;
  }
  const auto url = found->front().get<std::string>();
  const std::size_t colon = url.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  return parse_number<std::uint16_t>(std::string_view(url).substr(colon + 1));
}

Async<Result<std::unique_ptr<NatsEngine>>> NatsEngine::open(EpollLoop& loop,
                                                            DataFolder& folder,
                                                            NatsEngineOptions options) {
  std::unique_ptr<NatsEngine> engine(new NatsEngine(loop, folder, std::move(options)));
  MERIDIAN_CO_CHECK(co_await engine->find_program());
  MERIDIAN_CO_CHECK(co_await await_free(
      loop, [&] { return engine->check_free(); }, engine->options_.predecessor_timeout));
  MERIDIAN_CO_TRY(engine->token_, load_or_make_secret(folder.keys() / "nats.token", loop.random()));
  co_return std::move(engine);
}

Endpoint NatsEngine::endpoint() const {
  return {.host = "127.0.0.1", .port = port_.load(std::memory_order_acquire), .path = {}};
}

StopSignals NatsEngine::stop_signals() const noexcept {
  // SIGINT closes the streams' files in order, and so would SIGTERM, but with exit code 1; after
  // SIGKILL the next start reads them again.
  return {.polite = SIGINT, .at_once = SIGKILL};
}

Async<Result<void>> NatsEngine::find_program() {
  MERIDIAN_CO_TRY(
      options_.program,
      co_await find_server(
          loop_, nats_server, options_.program, folder_.engine_user(), [](std::string_view said) {
            const auto version = parse_nats_version(said);
            return version && *version >= version_min;
          }));
  co_return Result<void>();
}

Result<void> NatsEngine::forget_ports() {
  for (const auto& file : ports_files(folder_.nats())) {
    MERIDIAN_CHECK(remove_file(file));
  }
  return {};
}

Async<Result<ChildOptions>> NatsEngine::prepare() {
  MERIDIAN_CO_CHECK(check_free());
  MERIDIAN_CO_CHECK(forget_ports());
  const std::filesystem::path file = folder_.nats() / config_name;
  MERIDIAN_CO_CHECK(
      replace_file(file,
                   to_nats_conf({.folder = folder_.nats(),
                                 .payload_size_max = options_.payload_size_max,
                                 .file_store_size_max = options_.file_store_size_max,
                                 .memory_store_size_max = options_.memory_store_size_max}),
                   folder_.engine_user()));
  co_return ChildOptions{
      .command = {options_.program.native(), "--config", file.native()},
      .environment = {{std::string(nats_token_variable), quote_nats_word(token_.reveal())}},
      .directory = folder_.nats().native(),
      .user = folder_.engine_user(),
      .death_signal = SIGKILL,
  };
}

Result<void> NatsEngine::check_free() {
  return check_no_server_in(folder_.nats(), options_.program);
}

Result<std::uint16_t> NatsEngine::read_port() {
  const auto files = ports_files(folder_.nats());
  if (files.empty()) return fail(Errc::unavailable, "it has not said where it listens");
  MERIDIAN_TRY(const auto text, read_file(files.front(), ports_size_max));
  const auto port = text ? parse_nats_ports(*text) : std::nullopt;
  if (!port) return fail(Errc::unavailable, "it has not said where it listens");
  return *port;
}

Async<Result<void>> NatsEngine::probe(Deadline deadline) {
  MERIDIAN_CO_TRY(const std::uint16_t port, read_port());
  const Endpoint at{.host = "127.0.0.1", .port = port, .path = {}};
  MERIDIAN_CO_CHECK(
      co_await greet_server(loop_, at, make_nats_greeting(token_), judge_nats_answer, deadline));
  port_.store(port, std::memory_order_release);
  co_return Result<void>();
}

}  // namespace meridian
