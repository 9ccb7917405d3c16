#pragma once
// Documents from outside as a script: what each URL answers, how late, and how often it was asked.

#include "runtime/fetcher.h"
#include "runtime/loop.h"

#include <cstddef>
#include <functional>
#include <map>
#include <string>

namespace meridian {

class SimFetcher final : public Fetcher {
 public:
  struct Answer {
    Result<FetchResponse> result;
    Duration delay{};
  };

  explicit SimFetcher(Loop& loop) noexcept : loop_(loop) {}

  // `answer` is called at each request; what it refers to outlives the fetcher. A URL without a
  // script refuses the connection.
  void serve(std::string url, std::function<Answer()> answer) {
    scripts_[std::move(url)].answer = std::move(answer);
  }
  void serve(std::string url, std::string body) {
    serve(std::move(url), [body = std::move(body)] {
      return Answer{FetchResponse{.content_type = "application/json", .body = body}};
    });
  }

  // Connections are refused from now on.
  void stop(const std::string& url) { scripts_[url].answer = nullptr; }

  Async<Result<FetchResponse>> get(FetchRequest request) override {
    Script& script = scripts_[request.url];
    ++script.requests_count;
    in_flight_max_ = std::max(in_flight_max_, ++in_flight_);
    Answer answer = script.answer ? script.answer() : Answer{fail(Errc::unavailable, "refused")};
    const Wake wake = co_await loop_.sleep(std::min(answer.delay, request.total_timeout));
    --in_flight_;
    MERIDIAN_CO_CHECK(to_result(wake, request.url));
    if (answer.delay >= request.total_timeout)
      co_return fail(Errc::timeout, request.url + ": slow");
    if (answer.result && answer.result->body.size() > request.body_size_max) {
      co_return fail(Errc::exhausted, request.url + ": the body is too large");
    }
    co_return std::move(answer.result);
  }

  std::size_t requests_count(const std::string& url) { return scripts_[url].requests_count; }
  std::size_t in_flight_max() const noexcept { return in_flight_max_; }

 private:
  struct Script {
    std::function<Answer()> answer;
    std::size_t requests_count = 0;
  };

  Loop& loop_;
  std::map<std::string, Script> scripts_;
  std::size_t in_flight_ = 0;
  std::size_t in_flight_max_ = 0;
};

}  // namespace meridian
