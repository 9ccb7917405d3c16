#pragma once
// The headers of a NATS message: the line `NATS/1.0`, lines of `name: value`, an empty line
// (docs.nats.io, NATS Protocol, HPUB; ADR-4).

#include "base/function_ref.h"
#include "base/result.h"

#include <string_view>

namespace meridian::nats {

inline constexpr std::string_view headers_begin = "NATS/1.0\r\n";
inline constexpr std::string_view headers_end = "\r\n";

struct HeaderLine {
  std::string_view name;   // Without white space around it. A line without a colon is all name.
  std::string_view value;  // Likewise.
  std::string_view raw;    // The line with its end.
  bool folded = false;     // It begins with white space: some readers take it for a part of the
                           // line before, others for a line of its own.
};

// Calls `use` for each line but the first and the empty one. Errors: invalid, for what readers
// would understand differently: another first line, a CR, LF or NUL by itself, no empty line at the
// end or one before it. `use` may have been called by then.
Result<void> each_header(std::string_view block, FunctionRef<void(const HeaderLine& line)> use);

// As HTTP compares names.
bool equal_names(std::string_view a, std::string_view b) noexcept;
bool name_begins_with(std::string_view name, std::string_view prefix) noexcept;

}  // namespace meridian::nats
