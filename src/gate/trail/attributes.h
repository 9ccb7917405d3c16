#pragma once
// The fields of a record as names and printable values, the same for every way to show them.

#include "gate/trail/format.h"

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace meridian::trail {

struct Attribute;
using Attributes = std::vector<Attribute>;

// Times are RFC 3339, durations whole microseconds under a name that ends in _us, digests and
// fingerprints hex, positions as PostgreSQL writes them. Texts are as peers sent them. Of a text or
// a list that was cut, an attribute <name>_cut says so. Texts that are empty are left out.
struct Attribute {
  std::string name;
  std::variant<std::string, std::uint64_t, bool, std::vector<Attributes>> value;
};

// Empty: the kind is that of a later version, or the fields are not what the kind says.
std::optional<Attributes> to_attributes(const RecordView& record);

}  // namespace meridian::trail
