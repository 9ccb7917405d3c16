#pragma once
// The places of a batch's messages as they are kept in the ledger: each as its differences to the
// one before, in few bytes.

#include "base/result.h"
#include "streams/progress.h"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace meridian {

std::string encode_places(std::span<const StreamPlace> places);

// Errors: invalid.
Result<std::vector<StreamPlace>> decode_places(std::string_view bytes);

// The bytes that encode(..., 'hex') of the database stands for.
std::string unhex(std::string_view digits);

}  // namespace meridian
