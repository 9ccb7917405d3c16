// The command line's requests: over the node's own Unix socket, from the user it runs as, or root.

#include "app/http_service.h"
#include "base/escape.h"
#include "base/number.h"
#include "wire/json/reader.h"
#include "wire/json/writer.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <unistd.h>
#include <utility>

namespace meridian {
namespace {

http::Response answer(int status, std::string text) {
  return {.status = status,
          .headers = {{"Content-Type", "application/json"}},
          .body = std::move(text) + "\n"};
}

http::Response refuse(const Error& error) {
  int status = 500;
  switch (error.code()) {
    case Errc::invalid:
    case Errc::conflict:
      status = 400;
      break;
    case Errc::unauthenticated:
    case Errc::denied:
      status = 403;
      break;
    case Errc::not_found:
      status = 404;
      break;
    case Errc::exhausted:
      status = 429;
      break;
    case Errc::timeout:
    case Errc::unavailable:
    case Errc::cancelled:
      status = 503;
      break;
    case Errc::outcome_unknown:
      status = 500;
      break;
  }
  json::Writer writer;
  writer.begin_object().member("error", error.detail()).end_object();
  return answer(status, writer.take());
}

std::string text_of(const json::Value& body, std::string_view name) {
  const json::Value* const value = body.find(name);
  return value && value->string() ? std::string(*value->string()) : std::string();
}

}  // namespace

Async<http::Response> HttpService::administer(std::string path,
                                              http::Request request,
                                              HttpCaller caller,
                                              Deadline deadline) {
  const bool ours =
      caller.peer.unix_socket &&
      (caller.peer.user == 0 || caller.peer.user == static_cast<std::int64_t>(::geteuid()));
  // To others there is nothing here.
  if (!ours) co_return answer(404, R"({"error":"there is nothing here"})");
  json::Value body;
  if (request.method == "POST") {
    auto parsed = json::parse(request.body.empty() ? "{}" : request.body);
    if (!parsed) co_return refuse(parsed.error());
    body = std::move(*parsed);
  }
  if (request.method == "POST" && path == "token") co_return mint(body, caller);
  if (request.method == "POST" && path == "revoke")
    co_return co_await revoke(std::move(body), std::move(caller), deadline);
  if (request.method == "POST" && path == "policy-test")
    co_return co_await test_policy(std::move(body), deadline);
  if (request.method == "POST" && path == "reload") {
    if (auto recorded = record(caller, "reload", {}); !recorded) co_return refuse(recorded.error());
    auto said = parts_.reload();
    if (!said) co_return refuse(said.error());
    json::Writer writer;
    writer.begin_object().member("text", *said).end_object();
    co_return answer(200, writer.take());
  }
  if (request.method == "GET" && path == "outbox") co_return co_await outbox_status();
  if (request.method == "GET" && path == "outbox-dead-letters")
    co_return co_await outbox_dead_letters(deadline);
  if (request.method == "POST" && path == "outbox-resume")
    co_return co_await resume_outbox(std::move(body), std::move(caller), deadline);
  if (path.starts_with("ingest/")) {
    co_return co_await administer_ingest(
        path.substr(7), std::move(body), std::move(caller), deadline);
  }
  if (request.method == "GET" && path == "views") co_return list_views();
  if (request.method == "GET" && path == "roles") co_return list_roles();
  co_return answer(404, R"({"error":"there is no such request"})");
}

Result<void> HttpService::record(const HttpCaller& caller,
                                 std::string_view action,
                                 std::string_view detail) {
  const std::string who = fmt::format("uid {} (process {})", caller.peer.user, caller.peer.process);
  return parts_.trail.append({caller.visit, caller.request},
                             trail::Administration{.who = who, .action = action, .detail = detail});
}

http::Response HttpService::mint(const json::Value& body, const HttpCaller& caller) {
  TokenRequest request{.subject = text_of(body, "subject"), .audience = text_of(body, "audience")};
  if (request.audience.empty()) request.audience = parts_.config->token.audience;
  request.ttl = parts_.config->token.ttl_default;
  if (const json::Value* const ttl = body.find("ttl_seconds"); ttl && ttl->integer()) {
    request.ttl = std::chrono::seconds(*ttl->integer());
  }
  if (const json::Value* const claims = body.find("claims"); claims && claims->object()) {
    request.claims = *claims->object();
  }
  const std::string detail = fmt::format(
      "subject {}, audience {}, for {}", request.subject, request.audience, to_text(request.ttl));
  if (auto recorded = record(caller, "mint_token", detail); !recorded)
    return refuse(recorded.error());
  auto minted = parts_.issuer.mint(request, parts_.loop.wall_now(), parts_.loop.random());
  if (!minted) return refuse(minted.error());
  json::Writer writer;
  writer.begin_object()
      .member("token", minted->token)
      .member("token_id", minted->token_id)
      .member("expires_at", to_rfc3339(minted->expires_at))
      .end_object();
  return answer(200, writer.take());
}

Async<http::Response> HttpService::revoke(json::Value body, HttpCaller caller, Deadline deadline) {
  Revocation revocation;
  revocation.issuer = text_of(body, "issuer");
  revocation.subject = text_of(body, "subject");
  revocation.token_id = text_of(body, "token_id");
  revocation.role = text_of(body, "role");
  revocation.reason = text_of(body, "reason");
  if (revocation.issuer.empty() && revocation.subject.empty() && revocation.token_id.empty() &&
      revocation.role.empty()) {
    co_return refuse(
        Error(Errc::invalid, "name what to revoke: a subject, a token id, a role or an issuer"));
  }
  const WallTime now = parts_.loop.wall_now();
  // After the longest life of a token there is none left that it refuses.
  revocation.expires_at = now + std::chrono::days(1);
  if (const json::Value* const seconds = body.find("for_seconds"); seconds && seconds->integer()) {
    revocation.until = now + std::chrono::seconds(*seconds->integer());
    revocation.expires_at = std::max(revocation.expires_at, *revocation.until);
  }
  const std::string detail = fmt::format("issuer {}, subject {}, token {}, role {}: {}",
                                         quote(revocation.issuer),
                                         quote(revocation.subject),
                                         quote(revocation.token_id),
                                         quote(revocation.role),
                                         revocation.reason);
  if (auto recorded = record(caller, "revoke", detail); !recorded)
    co_return refuse(recorded.error());
  auto id = co_await parts_.timeline.revoke(
      std::move(revocation), fmt::format("uid {}", caller.peer.user), deadline);
  if (!id) co_return refuse(id.error());
  json::Writer writer;
  writer.begin_object().member("id", *id).end_object();
  co_return answer(200, writer.take());
}

Async<http::Response> HttpService::test_policy(json::Value body, Deadline deadline) {
  const auto door = parse_door_name(text_of(body, "door"));
  if (!door) co_return refuse(Error(Errc::invalid, "the door is postgres, redis, nats or http"));
  const auto action = parse_action(text_of(body, "action"));
  if (!action)
    co_return refuse(Error(Errc::invalid, "the action is connect, read, write, forget or command"));
  const std::string resource = text_of(body, "resource");
  const std::string wanted_role = text_of(body, "role");
  const Secret token(text_of(body, "token"));
  // The name of a certificate that the client would show.
  std::vector<std::string> certificate;
  if (std::string name = text_of(body, "certificate"); !name.empty())
    certificate.push_back(std::move(name));

  json::Writer writer;
  writer.begin_object();
  const auto finish = [&](bool allowed, std::string_view why) {
    writer.name("allowed").boolean(allowed).member("why", why).end_object();
    return answer(200, writer.take());
  };
  auto verified = co_await parts_.gate.identify(token.reveal(), deadline);
  if (!verified) co_return finish(false, "the token: " + verified.error().detail());
  writer.member("issuer", (*verified)->issuer).member("subject", (*verified)->subject);
  writer.member("expires_at", to_rfc3339((*verified)->expires_at));
  auto principal = parts_.gate.bind(**verified, certificate, wanted_role);
  if (!principal) co_return finish(false, principal.error().detail());
  writer.member("role", (*principal)->role_name).member("binding", (*principal)->binding);
  const Decision decision = Gate::decide(**principal, *door, *action, resource);
  co_return finish(decision.allowed, decision.rule);
}

Async<http::Response> HttpService::administer_ingest(std::string action,
                                                     json::Value body,
                                                     HttpCaller caller,
                                                     Deadline deadline) {
  const auto refuse_none = [] {
    return refuse(Error(Errc::not_found,
                        "this node has no ingest rules: see ingest: in its "
                        "configuration"));
  };
  if (!parts_.ingest) co_return refuse_none();
  IngestService& ingest = *parts_.ingest;
  if (action == "status") {
    auto all = co_await ingest.status();
    if (!all) co_return refuse(all.error());
    if (all->empty()) co_return refuse_none();
    json::Writer writer;
    writer.begin_object().name("rules").begin_array();
    const auto number = [&](std::string_view name, std::uint64_t value) {
      writer.name(name).integer(static_cast<std::int64_t>(value));
    };
    for (const IngestRule::Status& rule : *all) {
      writer.begin_object().member("rule", rule.name).member("state", to_string(rule.state));
      writer.member("why", rule.why).member("holder", rule.holder).member("stream", rule.stream);
      number("epoch", rule.epoch);
      number("incarnation", static_cast<std::uint64_t>(rule.incarnation));
      number("floor", rule.floor.sequence);
      writer.member("floor_time", rule.floor.time == 0 ? "" : to_timestamp(rule.floor.time));
      number("pending", rule.pending);
      number("under_way", rule.under_way);
      number("rows", rule.rows);
      number("duplicates", rule.duplicates);
      number("dead", rule.dead);
      number("batches", rule.batches);
      writer.member("one_by_one", rule.one_by_one).member("gap", rule.gap).end_object();
    }
    writer.end_array().end_object();
    co_return answer(200, writer.take());
  }
  const std::string rule = text_of(body, "rule");
  const auto flag = [&](std::string_view name) {
    const json::Value* const value = body.find(name);
    return value && value->boolean().value_or(false);
  };
  const bool looks_only = action == "letters" || action == "replay-status";
  if (!looks_only) {
    auto recorded = record(caller, "ingest " + action, json::to_text(body));
    if (!recorded) co_return refuse(recorded.error());
  }
  const auto integer = [&](std::string_view name) -> std::uint64_t {
    const json::Value* const value = body.find(name);
    return value && value->integer() && *value->integer() > 0
               ? static_cast<std::uint64_t>(*value->integer())
               : 0;
  };
  std::vector<std::int64_t> letters;
  if (const json::Value* const given = body.find("letters"); given && given->array()) {
    for (const json::Value& letter : *given->array())
      letters.push_back(letter.integer().value_or(0));
  }
  const auto tell = [&](const IngestRule::Counts& counts) {
    json::Writer writer;
    const auto number = [&](std::string_view name, std::uint64_t value) {
      writer.name(name).integer(static_cast<std::int64_t>(value));
    };
    writer.begin_object();
    number("rows", counts.rows);
    number("dead", counts.dead);
    number("others", counts.others);
    return answer(200, writer.end_object().take());
  };
  if (action == "letters") {
    constexpr std::uint64_t listed_max = 1'000;
    const std::uint64_t most = std::clamp<std::uint64_t>(integer("limit"), 1, listed_max);
    auto rows = co_await ingest.dead_letters(rule, text_of(body, "state"), most, deadline);
    if (!rows) co_return refuse(rows.error());
    json::Writer writer;
    writer.begin_object().name("letters").begin_array();
    constexpr std::array names{"id",
                               "rule",
                               "sequence",
                               "subject",
                               "reason",
                               "sqlstate",
                               "error",
                               "attempt",
                               "state",
                               "buried_at",
                               "payload"};
    for (std::size_t row = 0; row < rows->count(); ++row) {
      writer.begin_object();
      for (std::size_t i = 0; i < names.size(); ++i) {
        const std::string_view text = rows->text(row, i);
        const auto number = parse_number<std::int64_t>(text);
        const bool is_number = i == 0 || i == 2 || i == 7;
        writer.name(names[i]);
        is_number&& number ? writer.integer(*number) : writer.string(text);
      }
      writer.end_object();
    }
    co_return answer(200, writer.end_array().end_object().take());
  }
  if (action == "retry") {
    auto counts = co_await ingest.retry(rule, std::move(letters), deadline);
    co_return counts ? tell(*counts) : refuse(counts.error());
  }
  if (action == "discard") {
    auto count = co_await ingest.discard(rule, std::move(letters), deadline);
    co_return count ? tell({.others = *count}) : refuse(count.error());
  }
  const auto time = [&](std::string_view name, std::optional<WallTime>& into) -> Result<void> {
    const std::string text = text_of(body, name);
    WallTime parsed;
    if (text.empty()) return {};
    if (!parse_rfc3339(text, parsed)) {
      return fail(Errc::invalid, quote(text) + " is no time as in 2026-01-31T08:00:00Z");
    }
    into = parsed;
    return {};
  };
  if (action == "rollback") {
    IngestRule::RollbackPoint to{.sequence = integer("to_sequence")};
    if (auto read = time("to_time", to.time); !read) co_return refuse(read.error());
    auto counts = co_await ingest.roll_back(rule, to, deadline);
    co_return counts ? tell(*counts) : refuse(counts.error());
  }
  if (action == "replay-status") {
    auto replay = co_await ingest.replay_status(rule);
    if (!replay) co_return refuse(replay.error());
    constexpr std::array<std::string_view, 4> states{"none", "running", "done", "failed"};
    json::Writer writer;
    writer.begin_object()
        .member("state", states[static_cast<std::size_t>(replay->state)])
        .member("why", replay->why);
    const auto number = [&](std::string_view name, std::uint64_t value) {
      writer.name(name).integer(static_cast<std::int64_t>(value));
    };
    number("last_sequence", replay->last_sequence);
    number("rows", replay->rows);
    number("duplicates", replay->duplicates);
    number("dead", replay->dead);
    co_return answer(200, writer.end_object().take());
  }
  Result<void> done = fail(Errc::not_found, "there is no such request");
  if (action == "replay") {
    IngestRule::ReplayOptions options{.from_sequence = integer("from_sequence"),
                                      .to_sequence = integer("to_sequence"),
                                      .into = text_of(body, "into"),
                                      .force = flag("force")};
    done = time("from_time", options.from_time);
    if (done) done = time("to_time", options.to_time);
    if (done) done = co_await ingest.start_replay(rule, std::move(options), deadline);
  } else if (action == "replay-cancel") {
    done = co_await ingest.cancel_replay(rule);
  } else if (action == "pause") {
    done = co_await ingest.pause(rule, text_of(body, "why"), deadline);
  } else if (action == "resume") {
    done = co_await ingest.resume(rule, flag("accept_stream"), deadline);
  }
  if (!done) co_return refuse(done.error());
  co_return answer(200, "{}");
}

http::Response HttpService::list_views() const {
  json::Writer writer;
  writer.begin_object().name("views").begin_array();
  const auto set = parts_.views.get();
  for (const auto& view : set->views()) {
    writer.begin_object();
    writer.member("name", view->name);
    writer.member("key", view->pattern.to_string());
    writer.member("role", view->read->role);
    writer.name("cached").boolean(view->uncacheable.empty());
    writer.member("explanation", explain(*view));
    writer.end_object();
  }
  writer.end_array().name("broken").begin_array();
  for (const BrokenView& broken : parts_.timeline.broken_views()) {
    writer.begin_object().member("name", broken.name).member("reason", broken.reason).end_object();
  }
  writer.end_array().end_object();
  return answer(200, writer.take());
}

Async<http::Response> HttpService::outbox_status() {
  const auto refuse_none = [] {
    return refuse(Error(Errc::not_found,
                        "nothing is published: there is no rule under `publish`, or no NATS"));
  };
  if (!parts_.outbox) co_return refuse_none();
  auto status = co_await parts_.outbox->status();
  if (!status) co_return refuse(status.error());
  if (!status->begun) co_return refuse_none();
  const Outbox::Status& outbox = status->outbox;
  json::Writer writer;
  writer.begin_object();
  writer.name("owner").boolean(status->owner);
  if (!status->owner) writer.member("owned_by", status->owner_name);
  writer.member("state", to_string(outbox.state));
  writer.name("in_commit_order").boolean(outbox.by_feed);
  const auto number = [&](std::string_view name, std::uint64_t value) {
    writer.name(name).integer(static_cast<std::int64_t>(value));
  };
  number("numbered", outbox.numbered);
  number("published", outbox.published);
  number("waiting", outbox.numbered - std::min(outbox.numbered, outbox.published));
  writer.name("oldest_seconds").number(std::chrono::duration<double>(outbox.oldest_age).count());
  writer.name("alarm").boolean(outbox.alarm);
  number("dead_letters_since_start", outbox.dead_letters);
  writer.member("problem", outbox.problem.empty() ? status->lease_problem : outbox.problem);
  writer.name("broken_rules").begin_array();
  for (const BrokenRule& rule : parts_.timeline.broken_rules()) {
    writer.begin_object().member("name", rule.name).member("reason", rule.reason).end_object();
  }
  writer.end_array().end_object();
  co_return answer(200, writer.take());
}

Async<http::Response> HttpService::resume_outbox(json::Value body,
                                                 HttpCaller caller,
                                                 Deadline deadline) {
  const std::string how = text_of(body, "how");
  if (how != "republish" && how != "skip") {
    co_return refuse(Error(Errc::invalid, "say how: republish or skip"));
  }
  if (auto recorded = record(caller, "outbox_resume", how); !recorded)
    co_return refuse(recorded.error());
  auto done = co_await parts_.timeline.resume_outbox(how, deadline);
  if (!done) co_return refuse(done.error());
  co_return answer(200, "{}");
}

Async<http::Response> HttpService::outbox_dead_letters(Deadline deadline) {
  constexpr std::uint32_t shown_max = 1'000;
  auto rows = co_await parts_.timeline.outbox_dead_letters(shown_max, deadline);
  if (!rows) co_return refuse(rows.error());
  json::Writer writer;
  writer.begin_object().name("dead_letters").begin_array();
  for (std::size_t i = 0; i < rows->count(); ++i) {
    writer.begin_object()
        .member("number", rows->text(i, 0))
        .member("id", rows->text(i, 1))
        .member("subject", rows->text(i, 2))
        .member("error", rows->text(i, 3))
        .member("at", rows->text(i, 4))
        .member("payload_bytes", rows->text(i, 5))
        .end_object();
  }
  writer.end_array().end_object();
  co_return answer(200, writer.take());
}

http::Response HttpService::list_roles() const {
  json::Writer writer;
  const WallTime now = parts_.loop.wall_now();
  writer.begin_object().name("bindings").begin_array();
  for (const auto& role : parts_.policy.get()->roles()) {
    for (const Binding& binding : role->bindings) {
      writer.begin_object();
      writer.member("role", role->name).member("binding", binding.condition.text());
      if (binding.review_by) {
        writer.member("review_by", to_rfc3339(*binding.review_by).substr(0, 10));
        writer.name("overdue").boolean(*binding.review_by <= now);
        writer.member("after_review", binding.after_review == AfterReview::stop ? "stop" : "warn");
      }
      writer.end_object();
    }
  }
  writer.end_array().end_object();
  return answer(200, writer.take());
}

}  // namespace meridian
