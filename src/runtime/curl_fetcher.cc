#include "runtime/curl_fetcher.h"

#include "base/assert.h"
#include "base/escape.h"
#include "base/number.h"

#include <algorithm>
#include <array>
#include <curl/curl.h>
#include <fmt/format.h>
#include <memory>
#include <string_view>

namespace meridian {
namespace {

struct CurlDeleter {
  void operator()(CURL* curl) const noexcept { curl_easy_cleanup(curl); }
};
using Curl = std::unique_ptr<CURL, CurlDeleter>;

struct Body {
  std::string bytes;
  std::size_t size_max = 0;
  bool too_large = false;
};

struct Headers {
  std::size_t left = 0;
  bool too_large = false;
};

// Taking fewer bytes than given ends the transfer.
std::size_t take_bytes(char* bytes, std::size_t one, std::size_t count, void* into) {
  Body& body = *static_cast<Body*>(into);
  const std::size_t size = one * count;
  if (size > body.size_max - body.bytes.size()) {
    body.too_large = true;
    return 0;
  }
  body.bytes.append(bytes, size);
  return size;
}

// The library keeps what it reads of them, and would go on for as long as the server does.
std::size_t count_header(const char* /*bytes*/, std::size_t one, std::size_t count, void* into) {
  Headers& headers = *static_cast<Headers*>(into);
  const std::size_t size = one * count;
  if (size > headers.left) {
    headers.too_large = true;
    return 0;
  }
  headers.left -= size;
  return size;
}

long to_millis(Duration duration) {
  return static_cast<long>(std::chrono::ceil<std::chrono::milliseconds>(duration).count());
}

// RFC 9111, section 5.2.2. Other directives say nothing about how long.
std::optional<Duration> max_age_of(CURL* curl) {
  curl_header* header = nullptr;
  if (curl_easy_header(curl, "cache-control", 0, CURLH_HEADER, -1, &header) != CURLHE_OK) {
    return std::nullopt;
  }
  const std::string_view value(header->value);
  if (value.contains("no-store") || value.contains("no-cache")) return Duration::zero();
  constexpr std::string_view name = "max-age=";
  const std::size_t at = value.find(name);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view rest = value.substr(at + name.size());
  const auto seconds = parse_number<std::uint32_t>(rest.substr(0, rest.find_first_of(", ;")));
  return seconds ? std::optional<Duration>(std::chrono::seconds(*seconds)) : std::nullopt;
}

void configure(CURL* curl, const FetchRequest& request, const std::string& ca_file) {
  curl_easy_setopt(curl, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, to_millis(request.connect_timeout));
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, to_millis(request.total_timeout));
  curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
  curl_easy_setopt(curl, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "meridian");
  if (!ca_file.empty()) curl_easy_setopt(curl, CURLOPT_CAINFO, ca_file.c_str());
}

Result<FetchResponse> fetch(const FetchRequest& request, const std::string& ca_file) {
  const Curl curl(curl_easy_init());
  MERIDIAN_ASSERT(curl != nullptr);
  Body body{.bytes = {}, .size_max = request.body_size_max};
  Headers headers{.left = request.headers_size_max};
  std::array<char, CURL_ERROR_SIZE> reason{};
  configure(curl.get(), request, ca_file);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &take_bytes);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &body);
  curl_easy_setopt(curl.get(), CURLOPT_HEADERFUNCTION, &count_header);
  curl_easy_setopt(curl.get(), CURLOPT_HEADERDATA, &headers);
  curl_easy_setopt(curl.get(), CURLOPT_ERRORBUFFER, reason.data());

  const CURLcode code = curl_easy_perform(curl.get());
  const std::string what = "GET " + escape(request.url);
  if (body.too_large) {
    return fail(Errc::exhausted,
                fmt::format("{}: the body has more than {} bytes", what, request.body_size_max));
  }
  if (headers.too_large) {
    return fail(
        Errc::exhausted,
        fmt::format("{}: the headers have more than {} bytes", what, request.headers_size_max));
  }
  if (code != CURLE_OK) {
    const char* const why = reason[0] != '\0' ? reason.data() : curl_easy_strerror(code);
    return fail(code == CURLE_OPERATION_TIMEDOUT     ? Errc::timeout
                : code == CURLE_UNSUPPORTED_PROTOCOL ? Errc::invalid
                                                     : Errc::unavailable,
                fmt::format("{}: {}", what, why));
  }
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  const char* type = nullptr;
  curl_easy_getinfo(curl.get(), CURLINFO_CONTENT_TYPE, &type);
  return FetchResponse{.status = static_cast<int>(status),
                       .content_type = type ? type : "",
                       .body = std::move(body.bytes),
                       .max_age = max_age_of(curl.get())};
}

}  // namespace

CurlFetcher::CurlFetcher(BlockingPool& pool, std::string ca_file)
    : pool_(pool), ca_file_(std::move(ca_file)) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  MERIDIAN_ASSERT(initialised == CURLE_OK);
}

Async<Result<FetchResponse>> CurlFetcher::get(FetchRequest request) {
  MERIDIAN_CO_TRY(auto response,
                  co_await pool_.run([request = std::move(request), ca_file = ca_file_] {
                    return fetch(request, ca_file);
                  }));
  co_return response;
}

}  // namespace meridian
