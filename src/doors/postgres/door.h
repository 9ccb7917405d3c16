#pragma once
// The postgres door: PostgreSQL's protocol, with a token as the password.

#include "doors/door.h"
#include "doors/postgres/parts.h"

#include <memory>

namespace meridian {

std::unique_ptr<Door> make_postgres_door(PostgresDoorParts parts);

}  // namespace meridian
