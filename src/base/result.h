#pragma once
// How a fallible call reports failure: Result<T> holds a T or an Error.

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace meridian {

// What a caller can do about it. Add a code only when some caller would act
// differently on it; put everything else in the detail text.
enum class Errc : std::uint8_t {
  cancelled,        // The caller went away or the node is draining.
  timeout,          // The deadline passed before any effect.
  unauthenticated,  // No proof of identity.
  denied,           // Identity known, action refused.
  not_found,
  conflict,         // Lost a race; the whole transaction may be tried again.
  invalid,          // The request can never succeed as written.
  exhausted,        // A limit was reached; retry later.
  unavailable,      // A dependency is down; nothing was changed.
  outcome_unknown,  // The change may or may not have happened.
};

// The code's own name: "not_found". For logs, metrics and the trail.
std::string_view to_string(Errc code) noexcept;

class [[nodiscard]] Error {
 public:
  explicit Error(Errc code, std::string detail = {}) : code_(code), detail_(std::move(detail)) {}

  Errc code() const noexcept { return code_; }
  const std::string& detail() const noexcept { return detail_; }  // For operators; never parsed.

 private:
  Errc code_;
  std::string detail_;
};

template <class T>
using Result = std::expected<T, Error>;

// `return fail(Errc::denied, "...")`, whatever the T of the caller.
[[nodiscard]] inline std::unexpected<Error> fail(Errc code, std::string detail = {}) {
  return std::unexpected(Error(code, std::move(detail)));
}

// The same error with what was being done in front: "reading the key: no such file".
[[nodiscard]] std::unexpected<Error> fail_while(std::string_view doing, const Error& error);

}  // namespace meridian

#define MERIDIAN_JOIN_(a, b) a##b
#define MERIDIAN_JOIN(a, b) MERIDIAN_JOIN_(a, b)

// Declares what the expression's Result holds, or hands its Error to the caller. One to a line.
#define MERIDIAN_TRY(declaration, expression) \
  MERIDIAN_TRY_(declaration, expression, MERIDIAN_JOIN(result_, __LINE__), return)
#define MERIDIAN_CO_TRY(declaration, expression) \
  MERIDIAN_TRY_(declaration, expression, MERIDIAN_JOIN(result_, __LINE__), co_return)
#define MERIDIAN_TRY_(declaration, expression, name, leave)  \
  auto name = (expression);                                  \
  if (!name) leave std::unexpected(std::move(name).error()); \
  declaration = *std::move(name)

// The same for a Result<void>.
#define MERIDIAN_CHECK(expression) \
  MERIDIAN_CHECK_(expression, MERIDIAN_JOIN(result_, __LINE__), return)
#define MERIDIAN_CO_CHECK(expression) \
  MERIDIAN_CHECK_(expression, MERIDIAN_JOIN(result_, __LINE__), co_return)
#define MERIDIAN_CHECK_(expression, name, leave) \
  auto name = (expression);                      \
  if (!name) leave std::unexpected(std::move(name).error())
