// Who is believed: issuers, Meridian's own tokens, and the exchange of one for the other.

#include "app/config/rules.h"
#include "app/config/settings.h"

#include <chrono>

namespace meridian::config {
namespace {

using std::chrono::days;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

void add_exchange_settings(SettingTable& table) {
  table.section(
      "exchange",
      "Token exchange (RFC 8693) at `POST /oauth/token`: a token of a trusted issuer "
      "becomes a short-lived one of Meridian's own. Nothing is exchanged without an entry "
      "in `bind`.");
  table.setting<Config>(
      "exchange.audiences",
      [](auto& config) -> auto& { return config.exchange.audiences; },
      TextListType{.item = {.what = "audience"}, .what = "list of audiences"},
      {.documentation = "Audiences that may be asked for besides `token.audience`. A token for "
                        "somebody outside cannot be called back before it expires.",
       .example = "[\"https://billing.example.com\"]",
       .applies = Applies::at_once});
  table.list_of<Config, ExchangeBindingConfig>(
      {.path = "exchange.bind[]",
       .documentation = "Which tokens may be exchanged. All that an entry says must hold, and it "
                        "says a subject, claims, or both.",
       .count_max = 256},
      [](auto& config) -> auto& { return config.exchange.bind; });
  table.setting<ExchangeBindingConfig>(
      "exchange.bind[].issuer",
      [](auto& binding) -> auto& { return binding.issuer; },
      TextType{.what = "issuer's name"},
      {.documentation = "A name under `issuers`, or `meridian` for its own.",
       .example = "k8s",
       .applies = Applies::at_once,
       .required = true});
  table.setting<ExchangeBindingConfig>("exchange.bind[].subject",
                                       [](auto& binding) -> auto& { return binding.subject; },
                                       TextType{.what = "subject", .rule = check_subject},
                                       {.documentation = "As in `roles.*.bind[].subject`.",
                                        .example = "\"system:serviceaccount:shop:*\"",
                                        .applies = Applies::at_once});
  table.setting<ExchangeBindingConfig>("exchange.bind[].claims",
                                       [](auto& binding) -> auto& { return binding.claims; },
                                       TextMapType{.what = "map of claims"},
                                       {.documentation = "As in `roles.*.bind[].claims`.",
                                        .example = "{ kubernetes.io.namespace: shop }",
                                        .applies = Applies::at_once});
  table.setting<ExchangeBindingConfig>(
      "exchange.bind[].as",
      [](auto& binding) -> auto& { return binding.as; },
      TextType{.what = "subject"},
      {.documentation = "The subject of the token that is given out.",
       .example = "shop",
       .applies = Applies::at_once,
       .default_text = "the subject of the token that came in"});
}

}  // namespace

void add_identity_settings(SettingTable& table) {
  table.map_of<Config, IssuerConfig>(
      {.path = "issuers.*",
       .documentation =
           "The OIDC issuers whose tokens are believed, by a name of your own that bindings use. "
           "Tokens of any other issuer are refused unread. Meridian's own issuer, `meridian`, is "
           "always there and needs no entry.",
       .example_name = "k8s",
       .count_max = 64,
       .name_rule = check_issuer_name},
      [](auto& config) -> auto& { return config.issuers; });
  table.setting<IssuerConfig>(
      "issuers.*.url",
      [](auto& issuer) -> auto& { return issuer.url; },
      TextType{.what = "URL, https://", .size_max = 2'048, .rule = check_issuer_url},
      {.documentation = "The issuer exactly as its tokens say it in `iss`. Its keys are found from "
                        "there by discovery.",
       .example = "https://kubernetes.default.svc",
       .required = true});
  table.setting<IssuerConfig>(
      "issuers.*.audience",
      [](auto& issuer) -> auto& { return issuer.audience; },
      TextType{.what = "audience"},
      {.documentation =
           "What a token's `aud` must name. Have one of Meridian's own, so that a token "
           "for another service opens nothing here.",
       .example = "meridian"});
  table.setting<IssuerConfig>(
      "issuers.*.lifetime_max",
      [](auto& issuer) -> auto& { return issuer.lifetime_max; },
      DurationType{.min = minutes(1), .max = days(30)},
      {.documentation = "Tokens that live longer from `iat` to `exp` are refused.",
       .example = "12h"});
  table.setting<IssuerConfig>(
      "issuers.*.allow_insecure_http",
      [](auto& issuer) -> auto& { return issuer.allow_insecure_http; },
      FlagType{},
      {.documentation = "Allows an `http://` URL. Whoever can change what travels on that network "
                        "can then make tokens; for tests on one machine.",
       .example = "true"});

  table.section("token", "The tokens that Meridian gives out itself.");
  table.setting<Config>(
      "token.issuer",
      [](auto& config) -> auto& { return config.token.issuer; },
      TextType{.what = "URL", .size_max = 2'048, .rule = check_issuer_url},
      {.documentation = "The `iss` of own tokens: the URL under which others reach the HTTP door. "
                        "Give it when others verify these tokens, or when the door's address may "
                        "change.",
       .example = "https://meridian.example.com",
       .default_text = "the address of the HTTP door"});
  table.setting<Config>("token.audience",
                        [](auto& config) -> auto& { return config.token.audience; },
                        TextType{.what = "audience"},
                        {.documentation = "The audience of own tokens that the doors accept.",
                         .example = "meridian"});
  table.setting<Config>(
      "token.ttl_default",
      [](auto& config) -> auto& { return config.token.ttl_default; },
      DurationType{.min = seconds(10), .max = days(1)},
      {.documentation = "How long a token lives when nobody asks for anything else.",
       .example = "10m"});
  table.setting<Config>("token.ttl_max",
                        [](auto& config) -> auto& { return config.token.ttl_max; },
                        DurationType{.min = seconds(10), .max = days(1)},
                        {.documentation = "The longest that may be asked for.", .example = "8h"});
  table.setting<Config>(
      "token.rotation",
      [](auto& config) -> auto& { return config.token.rotation; },
      DurationType{.min = hours(1), .max = days(365)},
      {.documentation = "A new signing key is made this often. The old one stays published until "
                        "the last token that it signed has expired.",
       .example = "1d"});
  add_exchange_settings(table);
}

}  // namespace meridian::config
