#include "doors/postgres/complaints.h"

namespace meridian {

std::string_view to_sqlstate(Errc code, bool during_login) noexcept {
  switch (code) {
    case Errc::cancelled:
      return "57P01";  // admin_shutdown
    case Errc::timeout:
      return during_login ? "08001" : "57014";  // connection failed; query_canceled
    case Errc::unauthenticated:
      return "28000";  // invalid_authorization_specification
    case Errc::denied:
      return during_login ? "28000" : "42501";  // insufficient_privilege
    case Errc::not_found:
      return during_login ? "3D000" : "02000";  // invalid_catalog_name
    case Errc::conflict:
      return "40001";  // serialization_failure
    case Errc::invalid:
      return "08P01";  // protocol_violation
    case Errc::exhausted:
      return "53300";  // too_many_connections
    case Errc::unavailable:
      return during_login ? "08001" : "08006";  // connection_failure
    case Errc::outcome_unknown:
      return "08007";  // transaction_resolution_unknown
  }
  return "XX000";
}

std::string_view hint_for(Errc code, bool during_login) noexcept {
  switch (code) {
    case Errc::unauthenticated:
      return "Give a fresh token as the password: meridian token --subject S.";
    case Errc::denied:
      return during_login ? "Ask for a binding of this identity to a role; meridian policy test "
                            "explains decisions."
                          : "";
    case Errc::exhausted:
      return "Try again, or raise the limit that the message names.";
    case Errc::unavailable:
      return "Nothing was changed; try again.";
    case Errc::outcome_unknown:
      return "The transaction may or may not have been committed; look before trying again.";
    case Errc::cancelled:
    case Errc::timeout:
    case Errc::not_found:
    case Errc::conflict:
    case Errc::invalid:
      return "";
  }
  return "";
}

void append_complaint(std::string& out,
                      postgres::Severity severity,
                      std::string_view sqlstate,
                      std::string_view message,
                      std::string_view hint,
                      RequestId request) {
  const std::string detail = "Request id " + request.to_string() + ".";
  postgres::append_error(out,
                         {.severity = severity,
                          .sqlstate = sqlstate,
                          .message = message,
                          .detail = detail,
                          .hint = hint});
}

void append_complaint(std::string& out,
                      postgres::Severity severity,
                      const Error& error,
                      RequestId request,
                      bool during_login) {
  append_complaint(out,
                   severity,
                   to_sqlstate(error.code(), during_login),
                   error.detail(),
                   hint_for(error.code(), during_login),
                   request);
}

}  // namespace meridian
