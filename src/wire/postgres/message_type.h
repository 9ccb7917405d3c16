#pragma once
// The letters that begin PostgreSQL's messages (protocol documentation, "Message Formats").

#include <cstdint>

namespace meridian::postgres {

// Who sends: the client is the frontend, the server the backend. Some letters mean one thing in
// one direction and another in the other.
enum class Sender : std::uint8_t { frontend, backend };

enum class FrontendType : char {
  bind = 'B',
  close = 'C',
  copy_data = 'd',
  copy_done = 'c',
  copy_fail = 'f',
  describe = 'D',
  execute = 'E',
  flush = 'H',
  function_call = 'F',
  parse = 'P',
  password = 'p',  // Also the SASL and GSS responses: which one, only the state tells.
  query = 'Q',
  sync = 'S',
  terminate = 'X',
};

enum class BackendType : char {
  authentication = 'R',
  backend_key_data = 'K',
  bind_complete = '2',
  close_complete = '3',
  command_complete = 'C',
  copy_both_response = 'W',
  copy_data = 'd',
  copy_done = 'c',
  copy_in_response = 'G',
  copy_out_response = 'H',
  data_row = 'D',
  empty_query_response = 'I',
  error_response = 'E',
  function_call_response = 'V',
  negotiate_protocol_version = 'v',
  no_data = 'n',
  notice_response = 'N',
  notification_response = 'A',
  parameter_description = 't',
  parameter_status = 'S',
  parse_complete = '1',
  portal_suspended = 's',
  ready_for_query = 'Z',
  row_description = 'T',
};

}  // namespace meridian::postgres
