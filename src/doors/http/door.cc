#include "doors/http/door.h"

#include "doors/encryption.h"
#include "wire/http/encoder.h"

#include <array>
#include <string>
#include <utility>

namespace meridian {
namespace {

class HttpDoor final : public Door {
 public:
  explicit HttpDoor(HttpDoorParts parts)
      : parts_(parts),
        requests_(
            parts.metrics.counter("meridian_http_requests_total", "Requests of the http door.")),
        seconds_(parts.metrics.histogram("meridian_http_request_seconds",
                                         "From a whole request to its response.")) {}

  DoorName name() const noexcept override { return DoorName::http; }

  Async<> serve(Visit& visit) override {
    auto beginning = co_await encrypt_at_once(
        visit, parts_.tls, parts_.loop.after(parts_.limits.request_timeout));
    if (!beginning) co_return visit.note_end(beginning.error().detail());
    // Who has begun to ask gets an answer.
    const auto busy = std::make_shared<bool>(false);
    visit.on_drain([&visit, busy] {
      if (!*busy) visit.end(stopping);
    });
    http::RequestDecoder decoder(parts_.limits.requests);
    std::string received = std::move(*beginning);
    visit.counters.bytes_in += received.size();
    for (;;) {
      auto request = co_await read_request(visit, decoder, received, *busy);
      if (!request) co_return visit.note_end(request.error().detail());
      if (!*request) co_return visit.note_end("the client left");
      if (!co_await answer(visit, std::move(**request))) co_return visit.note_end("ended");
      if (visit.draining()) co_return visit.note_end(stopping);
      *busy = false;
    }
  }

 private:
  static constexpr const char* stopping = "the node is stopping";

  // Nothing when the client has left between two requests. `busy` becomes true with a first byte.
  Async<Result<std::optional<http::Request>>> read_request(Visit& visit,
                                                           http::RequestDecoder& decoder,
                                                           std::string& received,
                                                           bool& busy) {
    Deadline deadline = parts_.loop.after(received.empty() ? parts_.limits.idle_timeout
                                                           : parts_.limits.request_timeout);
    bool promised = false;
    for (;;) {
      busy = busy || !received.empty();
      while (!received.empty() && !decoder.complete()) {
        auto taken = decoder.feed(received);
        if (!taken) {
          co_await refuse(visit, decoder.refusal_status(), taken.error());
          co_return std::unexpected(taken.error());
        }
        received.erase(0, *taken);
      }
      if (decoder.complete()) co_return std::optional(decoder.take());
      if (decoder.head_complete() && decoder.request().expects_continue && !promised) {
        promised = true;
        MERIDIAN_CO_CHECK(co_await write_all(visit.stream(), http::continue_response, deadline));
      }
      std::array<char, 4'096> buffer;
      auto size = co_await read_some(visit.stream(), buffer, deadline);
      if (!size) {
        if (size.error().code() == Errc::timeout && decoder.in_request()) {
          co_await refuse(visit, 408, Error(Errc::timeout, "the request did not come in whole"));
        }
        co_return std::unexpected(size.error());
      }
      if (*size == 0) co_return std::optional<http::Request>();
      visit.counters.bytes_in += *size;
      // From its first byte on a request has so long.
      if (!decoder.in_request() && received.empty())
        deadline = parts_.loop.after(parts_.limits.request_timeout);
      received.append(buffer.data(), *size);
    }
  }

  Async<> refuse(Visit& visit, int status, Error error) {
    (void)co_await send(
        visit, {.status = status, .body = error.detail() + "\n"}, {.keep_alive = false});
  }

  struct How {
    bool keep_alive = true;
    bool head = false;
  };

  Async<bool> send(Visit& visit, http::Response response, How how) {
    const std::string bytes = http::encode(
        response, {.now = parts_.loop.wall_now(), .keep_alive = how.keep_alive, .head = how.head});
    visit.counters.bytes_out += bytes.size();
    auto written =
        co_await write_all(visit.stream(), bytes, parts_.loop.after(parts_.limits.request_timeout));
    co_return written.has_value() && how.keep_alive;
  }

  Async<bool> answer(Visit& visit, http::Request request) {
    const Time begun = parts_.loop.now();
    requests_.add();
    ++visit.counters.commands;
    const How how{.keep_alive = request.keep_alive && !visit.draining(), .head = request.is_head()};
    HttpCaller caller{.visit = visit.id(),
                      .request = visit.request(),
                      .peer = visit.peer(),
                      .encrypted = visit.stream().encrypted()};
    if (const auto trace = request.header("traceparent")) {
      if (const auto given = parse_traceparent(*trace)) caller.request = *given;
    }
    http::Response response = co_await parts_.handler.handle(
        std::move(request), std::move(caller), parts_.loop.after(parts_.limits.request_timeout));
    seconds_.observe(parts_.loop.now() - begun);
    co_return co_await send(visit, std::move(response), how);
  }

  HttpDoorParts parts_;
  Counter& requests_;
  Histogram& seconds_;
};

}  // namespace

std::unique_ptr<Door> make_http_door(HttpDoorParts parts) {
  return std::make_unique<HttpDoor>(parts);
}

}  // namespace meridian
