#pragma once
// What the Supervisor says to an engine to learn whether it serves, and how it reads the answer.
// Codecs of a few messages each, without I/O.

#include "base/result.h"
#include "base/secret.h"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace meridian {

// No answer is longer; what is would be no answer.
inline constexpr std::size_t engine_answer_size_max = 4uz * 1024;

// StartupMessage of protocol 3.0 (PostgreSQL 15, section 55.7).
std::string make_postgres_startup(std::string_view user, std::string_view database);

// What a server has answered so far to a StartupMessage: success when it asks for a password, or is
// merely full. Errors: unavailable with what it said, or for bytes that are no answer. Empty: more
// bytes are needed. Once there is a verdict, further bytes do not change its code.
std::optional<Result<void>> judge_postgres_answer(std::string_view bytes);

// AUTH and PING (Redis serialization protocol).
Secret make_redis_greeting(const Secret& password);

// The same for the answers to it: success for OK and PONG.
std::optional<Result<void>> judge_redis_answer(std::string_view bytes);

// CONNECT and PING (docs.nats.io, NATS Protocol).
Secret make_nats_greeting(const Secret& token);

// The same for what comes then: success for INFO and PONG.
std::optional<Result<void>> judge_nats_answer(std::string_view bytes);

}  // namespace meridian
