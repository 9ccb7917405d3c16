#include "wire/jose/algorithm.h"

namespace meridian::jose {

std::string_view to_string(Algorithm algorithm) noexcept {
  switch (algorithm) {
    case Algorithm::rs256:
      return "RS256";
    case Algorithm::rs384:
      return "RS384";
    case Algorithm::rs512:
      return "RS512";
    case Algorithm::ps256:
      return "PS256";
    case Algorithm::es256:
      return "ES256";
    case Algorithm::es384:
      return "ES384";
    case Algorithm::eddsa:
      return "EdDSA";
  }
  return "";
}

std::optional<Algorithm> parse_algorithm(std::string_view name) noexcept {
  using enum Algorithm;
  for (const Algorithm algorithm : {rs256, rs384, rs512, ps256, es256, es384, eddsa}) {
    if (name == to_string(algorithm)) return algorithm;
  }
  return std::nullopt;
}

}  // namespace meridian::jose
