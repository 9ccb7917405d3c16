// Any body of a server's message: what is taken is written again to the same bytes, or for reports
// to the same fields. The first byte is the type of the message.

#include "base/assert.h"
#include "wire/postgres/backend.h"
#include "wire/postgres/backend_writer.h"
#include "wire/postgres/framing.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

using namespace meridian::postgres;

namespace {

template <class Parsed, class Append>
void check(std::string_view body, const Parsed& parsed, Append append) {
  if (!parsed) return;
  std::string again;
  append(again, *parsed);
  MERIDIAN_ASSERT(std::string_view(again).substr(header_bytes) == body);
}

void check_authentication(std::string_view body) {
  const auto message = parse_authentication(body);
  if (!message) return;
  (void)message->offers("SCRAM-SHA-256");
  MERIDIAN_ASSERT(!message->offers(""));
}

void check_report(std::string_view body) {
  const auto report = parse_report(body);
  if (!report || report->sqlstate.size() != 5) return;
  std::string again;
  append_notice(again,
                {.severity = Severity::notice,
                 .sqlstate = report->sqlstate,
                 .message = report->message,
                 .detail = report->detail,
                 .hint = report->hint});
  const auto parsed = parse_report(std::string_view(again).substr(header_bytes));
  MERIDIAN_ASSERT(parsed && parsed->sqlstate == report->sqlstate &&
                  parsed->message == report->message && parsed->detail == report->detail &&
                  parsed->hint == report->hint);
}

void check_session_message(BackendType type, std::string_view body) {
  if (type == BackendType::authentication) check_authentication(body);
  if (type == BackendType::backend_key_data) {
    check(body, parse_backend_key_data(body), [](std::string& out, const BackendKeyData& message) {
      append_backend_key_data(out, message.process_id, message.key);
    });
  }
  if (type == BackendType::parameter_status) {
    check(body, parse_parameter_status(body), [](std::string& out, const ParameterStatus& message) {
      append_parameter_status(out, message.name, message.value);
    });
  }
  if (type == BackendType::ready_for_query)
    check(body, parse_ready_for_query(body), append_ready_for_query);
  if (type == BackendType::negotiate_protocol_version) (void)parse_negotiate_protocol_version(body);
  if (type == BackendType::notification_response) {
    check(body,
          parse_notification_response(body),
          [](std::string& out, const NotificationResponse& message) {
            append_notification_response(out, message.process_id, message.channel, message.payload);
          });
  }
}

void check_result_message(BackendType type, std::string_view body) {
  if (type == BackendType::command_complete) {
    check(body, parse_command_complete(body), [](std::string& out, const CommandComplete& message) {
      append_command_complete(out, message.tag);
    });
  }
  if (type == BackendType::error_response || type == BackendType::notice_response)
    check_report(body);
  if (type == BackendType::row_description) {
    check(body,
          parse_row_description(body),
          [](std::string& out, const std::vector<ColumnDescription>& columns) {
            append_row_description(out, columns);
          });
  }
  if (type == BackendType::parameter_description) (void)parse_parameter_description(body);
  if (type == BackendType::data_row) {
    check(body, parse_data_row(body), [](std::string& out, const Values& values) {
      append_data_row(out, std::vector<Value>(values.begin(), values.end()));
    });
  }
  if (type == BackendType::copy_in_response || type == BackendType::copy_out_response ||
      type == BackendType::copy_both_response) {
    (void)parse_copy_response(body);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto type = static_cast<BackendType>(data[0]);
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  check_session_message(type, body);
  check_result_message(type, body);
  return 0;
}
