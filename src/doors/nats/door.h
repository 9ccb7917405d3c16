#pragma once
// The nats door: the NATS client protocol, with a token as auth_token, password or JWT.

#include "doors/door.h"
#include "doors/nats/parts.h"

#include <memory>

namespace meridian {

std::unique_ptr<Door> make_nats_door(NatsDoorParts parts);

}  // namespace meridian
