#include "app/admin_client.h"

#include "base/escape.h"
#include "wire/json/reader.h"
#include "wire/json/writer.h"

#include <curl/curl.h>
#include <memory>

namespace meridian {
namespace {

constexpr std::size_t answer_size_max = 16 << 20;
constexpr long timeout_seconds = 30;

std::size_t receive(char* bytes, std::size_t size, std::size_t count, void* target) {
  auto& answer = *static_cast<std::string*>(target);
  if (answer.size() + size * count > answer_size_max) return 0;
  answer.append(bytes, size * count);
  return size * count;
}

}  // namespace

Result<json::Value> AdminClient::get(std::string_view path) {
  return request(path, nullptr);
}

Result<json::Value> AdminClient::post(std::string_view path, const json::Value& body) {
  const std::string text = json::to_text(body);
  return request(path, &text);
}

Result<json::Value> AdminClient::request(std::string_view path, const std::string* body) {
  const std::unique_ptr<CURL, void (*)(CURL*)> curl(::curl_easy_init(), ::curl_easy_cleanup);
  const std::unique_ptr<curl_slist, void (*)(curl_slist*)> headers(
      ::curl_slist_append(nullptr, "Content-Type: application/json"), ::curl_slist_free_all);
  if (!curl) return fail(Errc::exhausted, "no memory");
  const std::string url = "http://localhost/admin/" + std::string(path);
  std::string answer;
  ::curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  ::curl_easy_setopt(curl.get(), CURLOPT_UNIX_SOCKET_PATH, socket_.c_str());
  ::curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, timeout_seconds);
  ::curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, receive);
  ::curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &answer);
  if (body) {
    ::curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
    ::curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, body->c_str());
    ::curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE, static_cast<long>(body->size()));
  }
  const CURLcode code = ::curl_easy_perform(curl.get());
  if (code == CURLE_COULDNT_CONNECT) {
    return fail(
        Errc::unavailable,
        "no node answers on " + quote(socket_) +
            "; is one running? --data names its folder, and only the user it runs as may ask it");
  }
  if (code != CURLE_OK)
    return fail(Errc::unavailable, quote(socket_) + ": " + ::curl_easy_strerror(code));
  auto value = json::parse(answer, {.size_max = answer_size_max});
  if (!value) return fail_while("the node's answer", value.error());
  long status = 0;
  ::curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  if (status == 200) return value;
  const auto error = value->string_at("error");
  return fail(Errc::invalid,
              error ? std::string(*error) : "the node answered " + std::to_string(status));
}

}  // namespace meridian
