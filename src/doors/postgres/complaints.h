#pragma once
// Errors of ours in PostgreSQL's terms: SQLSTATE, message, detail with the request id, hint.

#include "base/ids.h"
#include "base/result.h"
#include "wire/postgres/backend_writer.h"

#include <string>
#include <string_view>

namespace meridian {

// The SQLSTATE for an error of ours (PostgreSQL documentation, appendix A). `during_login`: the
// visit has not begun.
std::string_view to_sqlstate(Errc code, bool during_login) noexcept;

// A hint on what to do; empty where there is none to give.
std::string_view hint_for(Errc code, bool during_login) noexcept;

// Appends an ErrorResponse about `error`.
void append_complaint(std::string& out,
                      postgres::Severity severity,
                      const Error& error,
                      RequestId request,
                      bool during_login);

// The same with a SQLSTATE of its own.
void append_complaint(std::string& out,
                      postgres::Severity severity,
                      std::string_view sqlstate,
                      std::string_view message,
                      std::string_view hint,
                      RequestId request);

}  // namespace meridian
