#pragma once
// Subjects of NATS: tokens between dots, where a pattern may say `*` for any one token and, as its
// last token, `>` for one or more (docs.nats.io, Subject-Based Messaging).
//
// All of it works on views and takes no memory. Bytes are compared as they are.

#include <string_view>

namespace meridian::nats {

// At least one token, none of them empty, and no white space. `*` and `>` may be anywhere: in the
// subject of a message they are plain bytes to the server.
bool is_subject(std::string_view text) noexcept;

// Also fit to subscribe to: `>` stands last or inside a longer token.
bool is_pattern(std::string_view text) noexcept;

// What a pedantic server takes as the subject of a message: no empty token and no wildcard.
bool is_literal(std::string_view text) noexcept;

// Whether there is a token that is a wildcard.
bool has_wildcard(std::string_view pattern) noexcept;

// Whether a message of this subject comes to a subscription of this pattern. False when `subject`
// is none.
bool matches(std::string_view pattern, std::string_view subject) noexcept;

// Whether every subject that matches `pattern` also matches `within`. Requires that both are
// patterns.
bool is_subset(std::string_view pattern, std::string_view within) noexcept;

// Whether some subject matches both. Requires that both are patterns.
bool overlaps(std::string_view a, std::string_view b) noexcept;

// The first token; all of it when there is one alone.
std::string_view first_token(std::string_view subject) noexcept;

// Takes the first token off the front, with its dot.
std::string_view take_token(std::string_view& subject) noexcept;

}  // namespace meridian::nats
