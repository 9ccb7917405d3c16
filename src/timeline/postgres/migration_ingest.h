#pragma once
// The migration that brings what ingest keeps in the database (streams/ingest.h).

#include <span>
#include <string_view>

namespace meridian {

std::span<const std::string_view> ingest_migration() noexcept;

}  // namespace meridian
