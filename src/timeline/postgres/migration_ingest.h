#pragma once
// The migrations that bring what ingest keeps in the database (streams/ingest.h).

#include <span>
#include <string_view>

namespace meridian {

std::span<const std::string_view> ingest_migration() noexcept;
// Drops by counted time and not by the database's clock.
std::span<const std::string_view> ingest_clock_migration() noexcept;

}  // namespace meridian
