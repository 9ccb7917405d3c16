#pragma once
// The redis door: the Redis protocol in both versions, with a token as the password.

#include "doors/door.h"
#include "doors/redis/parts.h"

#include <memory>

namespace meridian {

std::unique_ptr<Door> make_redis_door(RedisDoorParts parts);

}  // namespace meridian
