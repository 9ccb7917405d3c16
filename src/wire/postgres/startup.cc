#include "wire/postgres/startup.h"

#include "base/escape.h"
#include "wire/postgres/bytes.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace meridian::postgres {
namespace {

constexpr std::uint32_t ssl_request_code = 80'877'103;
constexpr std::uint32_t gss_request_code = 80'877'104;
constexpr std::uint32_t cancel_request_code = 80'877'102;
constexpr std::size_t length_and_code_bytes = 8;
constexpr std::size_t cancel_key_bytes_min = 4;
constexpr std::size_t cancel_key_bytes_max = 256;
constexpr unsigned char tls_handshake_record = 0x16;
constexpr unsigned char tls_major_version = 0x03;

// Parameters that decide who logs in to what: two of them mean that two readers could disagree.
constexpr std::array<std::string_view, 4> unique_parameters = {
    "user", "database", "replication", "options"};

Result<CancelRequest> parse_cancel(BodyReader& reader) {
  CancelRequest request;
  request.process_id = reader.number<std::uint32_t>();
  request.key = reader.take_rest();
  if (request.key.size() < cancel_key_bytes_min || request.key.size() > cancel_key_bytes_max)
    reader.fail("its key does not have 4 to 256 bytes");
  MERIDIAN_CHECK(reader.finish("CancelRequest"));
  return request;
}

Result<StartupMessage> parse_startup(BodyReader& reader, ProtocolVersion version) {
  StartupMessage startup{.version = version, .parameters = {}};
  for (;;) {
    const std::string_view name = reader.text();
    if (name.empty()) break;  // The terminator, or a failure that finish() reports.
    const std::string_view value = reader.text();
    if (startup.parameters.size() == startup_parameters_max)
      reader.fail("it has more than startup_parameters_max=64 parameters");
    if (reader.failed()) break;
    const bool unique = std::ranges::find(unique_parameters, name) != unique_parameters.end();
    if (unique && startup.find(name)) {
      return fail(Errc::invalid,
                  fmt::format("StartupMessage: parameter {} appears twice", quote(name)));
    }
    startup.parameters.push_back({name, value});
  }
  MERIDIAN_CHECK(reader.finish("StartupMessage"));
  if (startup.user().empty()) return fail(Errc::invalid, "StartupMessage: it names no user");
  return startup;
}

}  // namespace

Opening recognise(std::string_view head) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(head[i]); };
  if (head.empty()) return Opening::unclear;
  if (byte(0) == tls_handshake_record) {
    if (head.size() < 2) return Opening::unclear;
    return byte(1) == tls_major_version ? Opening::direct_tls : Opening::foreign;
  }
  // A length of at most 64 KiB begins with a zero byte.
  if (byte(0) != 0) return Opening::foreign;
  if (head.size() < length_and_code_bytes) return Opening::unclear;
  const auto length = load_big_endian<std::uint32_t>(head.data());
  const auto code = load_big_endian<std::uint32_t>(head.data() + 4);
  if (length < length_and_code_bytes || length > startup_bytes_max) return Opening::foreign;
  if (code == ssl_request_code) return Opening::ssl_request;
  if (code == gss_request_code) return Opening::gss_request;
  if (code == cancel_request_code) return Opening::cancel;
  return code >> 16 == version_3_0.major ? Opening::startup : Opening::foreign;
}

const Parameter* StartupMessage::find(std::string_view name) const noexcept {
  const auto found = std::find_if(
      parameters.rbegin(), parameters.rend(), [&](const Parameter& p) { return p.name == name; });
  return found == parameters.rend() ? nullptr : &*found;
}

std::string_view StartupMessage::user() const noexcept {
  const Parameter* const user = find("user");
  return user ? user->value : std::string_view();
}

std::string_view StartupMessage::database() const noexcept {
  const Parameter* const database = find("database");
  return database && !database->value.empty() ? database->value : user();
}

Result<std::size_t> first_packet_bytes(std::string_view head) {
  if (head.size() < 4) return 0UZ;
  const auto length = load_big_endian<std::uint32_t>(head.data());
  if (length < length_and_code_bytes || length > startup_bytes_max) {
    return fail(Errc::invalid,
                fmt::format("the first packet says it has {} bytes; {} to startup_bytes_max={} are "
                            "allowed",
                            length,
                            length_and_code_bytes,
                            startup_bytes_max));
  }
  return std::size_t{length};
}

Result<FirstPacket> parse_first_packet(std::string_view received) {
  MERIDIAN_TRY(const std::size_t size, first_packet_bytes(received));
  if (size == 0 || received.size() < size)
    return fail(Errc::invalid, "the first packet is not complete");
  const auto code = load_big_endian<std::uint32_t>(received.data() + 4);
  if (received.size() > size) {
    const bool encryption = code == ssl_request_code || code == gss_request_code;
    return fail(Errc::invalid,
                fmt::format("{} bytes follow the first packet before it was answered{}",
                            received.size() - size,
                            encryption ? ", in clear behind a request for encryption" : ""));
  }
  BodyReader reader(received.substr(length_and_code_bytes));
  if (code == ssl_request_code) {
    MERIDIAN_CHECK(reader.finish("SSLRequest"));
    return SslRequest{};
  }
  if (code == gss_request_code) {
    MERIDIAN_CHECK(reader.finish("GSSENCRequest"));
    return GssRequest{};
  }
  if (code == cancel_request_code) {
    MERIDIAN_TRY(const CancelRequest cancel, parse_cancel(reader));
    return cancel;
  }
  const ProtocolVersion version{static_cast<std::uint16_t>(code >> 16),
                                static_cast<std::uint16_t>(code & 0xffff)};
  if (version.major != version_3_0.major) {
    return fail(
        Errc::invalid,
        fmt::format(
            "protocol {}.{} is not spoken here; 3.0 and 3.2 are", version.major, version.minor));
  }
  MERIDIAN_TRY(StartupMessage startup, parse_startup(reader, version));
  return startup;
}

Negotiation negotiate(const StartupMessage& startup, ProtocolVersion newest) {
  Negotiation negotiation;
  // There is no 3.1: between 3.0 and 3.2 lies nothing that anybody speaks.
  const bool speaks_newest = startup.version >= newest;
  negotiation.version = speaks_newest ? newest : version_3_0;
  for (const Parameter& parameter : startup.parameters) {
    if (parameter.name.starts_with("_pq_.")) negotiation.unrecognised.push_back(parameter.name);
  }
  negotiation.needed = startup.version != negotiation.version || !negotiation.unrecognised.empty();
  return negotiation;
}

}  // namespace meridian::postgres
