#include "app/http_service.h"

#include "app/version.h"
#include "wire/http/target.h"
#include "wire/json/writer.h"

#include <fmt/format.h>
#include <utility>

namespace meridian {
namespace {

http::Response text_response(int status, std::string text) {
  return {.status = status,
          .headers = {{"Content-Type", "text/plain; charset=utf-8"}},
          .body = std::move(text)};
}

http::Response json_response(int status, std::string text) {
  return {
      .status = status, .headers = {{"Content-Type", "application/json"}}, .body = std::move(text)};
}

// Documents that verifiers keep for a while.
http::Response document(std::string text) {
  http::Response response = json_response(200, std::move(text));
  response.headers.push_back({"Cache-Control", "public, max-age=300"});
  return response;
}

http::Response not_allowed(std::string_view allowed) {
  http::Response response = text_response(405, fmt::format("use {}\n", allowed));
  response.headers.push_back({"Allow", std::string(allowed)});
  return response;
}

}  // namespace

Async<http::Response> HttpService::handle(http::Request request,
                                          HttpCaller caller,
                                          Deadline deadline) {
  auto target = http::parse_target(request.target);
  if (!target) co_return text_response(400, target.error().detail() + "\n");
  const std::string path = target->path();
  const bool reads = request.method == "GET" || request.is_head();
  if (path == token_path) {
    if (request.method != "POST") co_return not_allowed("POST");
    co_return co_await exchange(std::move(request), std::move(caller), deadline);
  }
  if (path.starts_with("/admin/")) {
    co_return co_await administer(path.substr(7), std::move(request), std::move(caller), deadline);
  }
  if (path == "/healthz") co_return reads ? text_response(200, "ok\n") : not_allowed("GET");
  if (path == "/readyz") co_return reads ? ready() : not_allowed("GET");
  if (path == "/metrics") {
    if (!reads) co_return not_allowed("GET");
    http::Response response = text_response(200, parts_.metrics.to_prometheus());
    response.headers.front().value = "text/plain; version=0.0.4; charset=utf-8";
    co_return response;
  }
  if (path == discovery_path)
    co_return reads ? document(parts_.issuer.discovery()) : not_allowed("GET");
  if (path == jwks_path)
    co_return reads ? document(parts_.issuer.published().get()->jwks) : not_allowed("GET");
  if (path == "/api/status") co_return reads ? status() : not_allowed("GET");
  co_return text_response(404, "there is nothing here\n");
}

// Ready does not depend on identity providers: tokens that are known go on being good without them.
http::Response HttpService::ready() const {
  std::string problems;
  const auto check = [&](bool good, std::string_view text) {
    if (!good) problems += fmt::format("{}\n", text);
  };
  const TimelineService::Status timeline = parts_.timeline.status();
  check(timeline.set_up,
        "timeline: " + (timeline.problem.empty() ? "not set up yet" : timeline.problem));
  for (const auto& [name, engine] : parts_.engines)
    check(engine->serving(), name + ": not serving");
  if (auto trail = parts_.trail.ready(); !trail) check(false, "trail: " + trail.error().detail());
  return problems.empty() ? text_response(200, "ready\n") : text_response(503, problems);
}

http::Response HttpService::status() const {
  json::Writer writer;
  writer.begin_object();
  writer.member("version", version());
  writer.member("node", parts_.config->node.name);
  writer.member("time", to_rfc3339(parts_.loop.wall_now()));
  writer.name("doors").begin_object();
  for (const auto& [name, address] : parts_.doors)
    writer.member(name, address);
  writer.end_object();

  const TimelineService::Status timeline = parts_.timeline.status();
  writer.name("timeline").begin_object();
  writer.name("set_up").boolean(timeline.set_up);
  writer.name("feed_streaming").boolean(timeline.streaming);
  writer.member("feed_position", to_string(timeline.applied));
  if (!timeline.problem.empty()) writer.member("problem", timeline.problem);
  writer.end_object();

  writer.name("cache").begin_object();
  writer.name("serving").boolean(timeline.serving);
  writer.name("entries").integer(static_cast<std::int64_t>(parts_.cache.store.count()));
  writer.name("bytes").integer(static_cast<std::int64_t>(parts_.cache.store.bytes()));
  writer.name("bytes_max").integer(static_cast<std::int64_t>(parts_.cache.store.bytes_max()));
  writer.name("evictions").integer(static_cast<std::int64_t>(parts_.cache.store.evictions()));
  writer.name("hits").integer(
      static_cast<std::int64_t>(parts_.metrics.total("meridian_cache_hits_total")));
  writer.name("misses").integer(
      static_cast<std::int64_t>(parts_.metrics.total("meridian_cache_misses_total")));
  writer.end_object();

  writer.name("engines").begin_object();
  for (const auto& [name, engine] : parts_.engines) {
    const EngineStatus engine_status = engine->status();
    writer.name(name).begin_object();
    writer.member("state", to_string(engine_status.state));
    writer.member("since", to_rfc3339(engine_status.since));
    writer.name("process").integer(engine_status.process);
    writer.name("failures").integer(static_cast<std::int64_t>(engine_status.failures));
    if (!engine_status.last_failure.empty())
      writer.member("last_failure", engine_status.last_failure);
    writer.end_object();
  }
  writer.end_object();

  writer.name("pools").begin_array();
  for (const auto& pool : parts_.pools.all()) {
    const Pool::Status pool_status = pool->status();
    writer.begin_object();
    writer.member("role", pool->role());
    writer.member("database", pool->database());
    writer.name("in_use").integer(static_cast<std::int64_t>(pool_status.in_use));
    writer.name("idle").integer(static_cast<std::int64_t>(pool_status.idle));
    writer.name("waiting").integer(static_cast<std::int64_t>(pool_status.waiting));
    writer.name("backends_max").integer(static_cast<std::int64_t>(pool->options().backends_max));
    writer.end_object();
  }
  writer.end_array();
  writer.end_object();
  return json_response(200, writer.take() + "\n");
}

Async<http::Response> HttpService::exchange(http::Request request,
                                            HttpCaller caller,
                                            Deadline deadline) {
  const auto type = request.header("content-type");
  if (!type || !type->starts_with("application/x-www-form-urlencoded")) {
    co_return json_response(400,
                            R"({"error":"invalid_request",)"
                            R"("error_description":"send application/x-www-form-urlencoded"})");
  }
  auto form = http::parse_parameters(request.body);
  if (!form) {
    json::Writer writer;
    writer.begin_object()
        .member("error", "invalid_request")
        .member("error_description", form.error().detail())
        .end_object();
    co_return json_response(400, writer.take());
  }
  co_return co_await parts_.exchange.exchange(std::move(*form),
                                              {.request = caller.request,
                                               .visit = caller.visit,
                                               .door = DoorName::http,
                                               .peer = &caller.peer},
                                              deadline);
}

}  // namespace meridian
