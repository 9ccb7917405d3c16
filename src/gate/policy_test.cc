// A role is had by whom a binding names, and by nobody else; a refusal says what was looked for.

#include "gate/policy.h"

#include "base/metrics.h"
#include "wire/json/reader.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace meridian {
namespace {

const std::vector<std::string> issuers{"k8s", "corp"};
constexpr WallTime now = std::chrono::sys_days(std::chrono::year(2026) / 6 / 1);

class PolicyTest : public ::testing::Test {
 protected:
  Result<std::shared_ptr<const Policy>> compile(std::vector<RoleConfig> roles) {
    return Policy::compile(roles, issuers, counts_);
  }

  std::string refusal(std::vector<RoleConfig> roles) {
    const auto policy = compile(std::move(roles));
    return policy ? "" : policy.error().detail();
  }

  Metrics metrics_;
  VisitCounts counts_{metrics_};
};

VerifiedToken token_of(std::string_view issuer,
                       std::string subject,
                       std::string_view claims = "{}") {
  return {.issuer = std::string(issuer),
          .issuer_url = "https://" + std::string(issuer) + ".example.com",
          .subject = std::move(subject),
          .token_id = "t",
          .issued_at = now,
          .expires_at = now + std::chrono::minutes(5),
          .valid_until = now + std::chrono::minutes(5),
          .claims = std::make_shared<const json::Value>(*json::parse(claims))};
}

RoleConfig role_of(std::string name, std::vector<BindingConfig> bindings) {
  return {.name = std::move(name), .bindings = std::move(bindings), .postgres = {}, .redis = {}};
}

BindingConfig binding_of(std::string issuer,
                         std::string subject,
                         std::vector<ClaimCondition> claims = {}) {
  return {.issuer = std::move(issuer),
          .subject = std::move(subject),
          .claims = std::move(claims),
          .review_by = {}};
}

TEST(SubjectPattern, AStarIsOneWholeSegment) {
  const auto matches = [](std::string_view pattern, std::string_view subject) {
    const auto compiled = SubjectPattern::compile(pattern);
    EXPECT_TRUE(compiled) << pattern;
    return compiled && compiled->matches(subject);
  };
  EXPECT_TRUE(matches("alice", "alice"));
  EXPECT_FALSE(matches("alice", "alice2"));
  EXPECT_FALSE(matches("alice", "alic"));
  EXPECT_FALSE(matches("alice", "alice:x"));
  EXPECT_FALSE(matches("alice", "Alice"));
  constexpr std::string_view accounts = "system:serviceaccount:shop:*";
  EXPECT_TRUE(matches(accounts, "system:serviceaccount:shop:checkout"));
  EXPECT_FALSE(matches(accounts, "system:serviceaccount:shop:"));
  EXPECT_FALSE(matches(accounts, "system:serviceaccount:shop"));
  EXPECT_FALSE(matches(accounts, "system:serviceaccount:shop:a:b"));
  EXPECT_FALSE(matches(accounts, "system:serviceaccount:shop:a/b"));
  EXPECT_FALSE(matches(accounts, "system:serviceaccount:shop2:checkout"));
  constexpr std::string_view refs = "repo:acme/*:ref:refs/heads/main";
  EXPECT_TRUE(matches(refs, "repo:acme/app:ref:refs/heads/main"));
  EXPECT_FALSE(matches(refs, "repo:acme/app/x:ref:refs/heads/main"));
  EXPECT_FALSE(matches(refs, "repo:acme:app:ref:refs/heads/main"));
  EXPECT_FALSE(matches(refs, "repo:acme/app:ref:refs/heads/main2"));
  EXPECT_FALSE(matches(refs, "repo:acme-evil/app:ref:refs/heads/main"));
  EXPECT_TRUE(matches("spiffe://example.com/*/web", "spiffe://example.com/prod/web"));
  EXPECT_TRUE(matches("*:web", "x:web"));
}

TEST(SubjectPattern, APrefixWithoutDelimiterIsRefused) {
  for (const std::string pattern : {"",
                                    "shop*",
                                    "repo:acme/app*",
                                    "*-admin",
                                    "repo:a*b/c",
                                    "*",
                                    "*:*",
                                    "*/*:*",
                                    "**",
                                    "a:**",
                                    ":",
                                    "/*"}) {
    EXPECT_FALSE(SubjectPattern::compile(pattern)) << pattern;
  }
}

TEST(Claims, AreFoundByDottedNames) {
  const json::Value claims = *json::parse(
      R"({"groups":["a","orders-team",7],"team":"x","level":3,"admin":true,"ratio":1.5,)"
      R"("kubernetes.io":{"namespace":"shop","pod":{"name":"p"}},"a":{"b":{"c":"d"}},)"
      R"("https://example.com/role":"r","a.b":{"c":"flat"}})");
  EXPECT_TRUE(claim_matches(claims, "groups", "orders-team"));
  EXPECT_TRUE(claim_matches(claims, "groups", "7"));
  EXPECT_FALSE(claim_matches(claims, "groups", "orders"));
  EXPECT_FALSE(claim_matches(claims, "groups", ""));
  EXPECT_TRUE(claim_matches(claims, "team", "x"));
  EXPECT_TRUE(claim_matches(claims, "level", "3"));
  EXPECT_FALSE(claim_matches(claims, "level", "03"));
  EXPECT_TRUE(claim_matches(claims, "admin", "true"));
  EXPECT_FALSE(claim_matches(claims, "admin", "1"));
  EXPECT_TRUE(claim_matches(claims, "kubernetes.io.namespace", "shop"));
  EXPECT_TRUE(claim_matches(claims, "kubernetes.io.pod.name", "p"));
  EXPECT_TRUE(claim_matches(claims, "https://example.com/role", "r"));
  EXPECT_FALSE(claim_matches(claims, "kubernetes.io", "shop"));
  EXPECT_FALSE(claim_matches(claims, "absent", ""));
  EXPECT_FALSE(claim_matches(claims, "team.x", "x"));
  // The longest name that exists is followed, and no other.
  EXPECT_TRUE(claim_matches(claims, "a.b.c", "flat"));
  EXPECT_FALSE(claim_matches(claims, "a.b.c", "d"));
  EXPECT_FALSE(
      claim_matches(*json::parse(R"({"a.b":{"x":"y"},"a":{"b":{"c":"d"}}})"), "a.b.c", "d"));
}

TEST_F(PolicyTest, ABindingNeedsAllItsParts) {
  const auto policy =
      compile({role_of("checkout",
                       {binding_of("k8s", "system:serviceaccount:shop:checkout"),
                        binding_of("corp", "", {{"groups", "orders-team"}, {"mfa", "true"}})})});
  ASSERT_TRUE(policy) << policy.error().detail();
  const auto binds = [&](const VerifiedToken& token) {
    return (*policy)->bind(token, "", now).has_value();
  };
  EXPECT_TRUE(binds(token_of("k8s", "system:serviceaccount:shop:checkout")));
  EXPECT_FALSE(binds(token_of("corp", "system:serviceaccount:shop:checkout")));
  EXPECT_FALSE(binds(token_of("k8s", "system:serviceaccount:shop:other")));
  EXPECT_TRUE(binds(token_of("corp", "bob", R"({"groups":["orders-team"],"mfa":true})")));
  EXPECT_FALSE(binds(token_of("corp", "bob", R"({"groups":["orders-team"]})")));
  EXPECT_FALSE(binds(token_of("k8s", "bob", R"({"groups":["orders-team"],"mfa":true})")));
}

TEST_F(PolicyTest, ACertificateIsOnePartOfABinding) {
  BindingConfig exact = binding_of("k8s", "a");
  exact.certificate = "uri:spiffe://shop.example/*/checkout";
  BindingConfig any = binding_of("corp", "a");
  any.certificate = "any";
  const auto policy = compile({role_of("exact", {exact}), role_of("any", {any})});
  ASSERT_TRUE(policy) << policy.error().detail();
  const auto role = [&](const VerifiedToken& token, std::vector<std::string> names) {
    const auto bound = (*policy)->bind({token, names}, "", now);
    return bound ? bound->role->name : "";
  };
  const VerifiedToken k8s = token_of("k8s", "a");
  EXPECT_EQ(role(k8s, {"dns:x", "uri:spiffe://shop.example/prod/checkout"}), "exact");
  EXPECT_EQ(role(k8s, {}), "");
  EXPECT_EQ(role(k8s, {"uri:spiffe://shop.example/prod/other"}), "");
  EXPECT_EQ(role(k8s, {"uri:spiffe://elsewhere.example/prod/checkout"}), "");
  // The same text as a name of another kind.
  EXPECT_EQ(role(k8s, {"cn:spiffe://shop.example/prod/checkout"}), "");
  // The certificate does not make up for the token.
  EXPECT_EQ(role(token_of("k8s", "b"), {"uri:spiffe://shop.example/prod/checkout"}), "");
  EXPECT_EQ(role(token_of("corp", "a"), {"cn:whoever"}), "any");
  EXPECT_EQ(role(token_of("corp", "a"), {}), "");
  const auto told = (*policy)->bind(k8s, "exact", now);
  ASSERT_FALSE(told);
  EXPECT_TRUE(told.error().detail().contains(
      "binding 1 wants the certificate uri:spiffe://shop.example/*/checkout"))
      << told.error().detail();
  EXPECT_TRUE(
      (*policy)
          ->bind({k8s, std::vector<std::string>{"uri:spiffe://shop.example/p/checkout"}}, "", now)
          ->binding.contains("certificate uri:"));
}

TEST_F(PolicyTest, ACertificateIsAnyOrANameOfAKind) {
  for (const std::string wrong : {"checkout", "dns:", "ip:10.0.0.1", "dns:a*", "uri:a/b*"}) {
    BindingConfig binding = binding_of("k8s", "a");
    binding.certificate = wrong;
    EXPECT_FALSE(compile({role_of("r", {binding})})) << wrong;
  }
}

TEST_F(PolicyTest, NobodyHasARoleByDefault) {
  const auto policy =
      compile({role_of("lonely", {}), role_of("checkout", {binding_of("k8s", "a")})});
  const auto bound = (*policy)->bind(token_of("k8s", "b"), "", now);
  ASSERT_FALSE(bound);
  EXPECT_EQ(bound.error().code(), Errc::denied);
  EXPECT_EQ(bound.error().detail(),
            "no role is bound to issuer k8s, subject \"b\"; role \"lonely\": has no bindings; "
            "role \"checkout\": binding 1 wants subject \"a\"");
}

TEST_F(PolicyTest, TheWantedRoleIsPickedAmongThoseThatMatch) {
  const auto policy = compile({role_of("reader", {binding_of("k8s", "a")}),
                               role_of("writer", {binding_of("k8s", "a")}),
                               role_of("admin", {binding_of("corp", "a")})});
  const VerifiedToken token = token_of("k8s", "a");
  EXPECT_EQ((*policy)->bind(token, "writer", now)->role->name, "writer");
  EXPECT_EQ((*policy)->bind(token, "", now).error().detail(),
            "issuer k8s, subject \"a\" has the roles reader, writer; name one of them as the user");
  EXPECT_EQ((*policy)->bind(token, "admin", now).error().detail(),
            "the role \"admin\" is not bound to issuer k8s, subject \"a\"; the user name is taken "
            "for the "
            "wanted role, and this token has: reader, writer; role \"admin\": binding 1 wants "
            "issuer corp");
  EXPECT_EQ(
      (*policy)->bind(token, "root", now).error().detail(),
      "the role \"root\" is not bound to issuer k8s, subject \"a\"; there is no such role; the "
      "user name is taken for the wanted role, and this token has: reader, writer");
  EXPECT_EQ((*policy)->bind(token_of("k8s", "b"), "root", now).error().detail(),
            "the role \"root\" is not bound to issuer k8s, subject \"b\"; there is no such role");
  // One match needs no name, and another name is not overlooked.
  EXPECT_EQ((*policy)->bind(token_of("corp", "a"), "", now)->role->name, "admin");
  EXPECT_FALSE((*policy)->bind(token_of("corp", "a"), "reader", now));
}

TEST_F(PolicyTest, AnOverdueReviewWarnsOrStops) {
  BindingConfig binding = binding_of("k8s", "a");
  binding.review_by = now;
  const auto warns = compile({role_of("r", {binding})});
  binding.after_review = AfterReview::stop;
  const auto stops = compile({role_of("r", {binding})});
  const VerifiedToken token = token_of("k8s", "a");
  const WallTime before = now - std::chrono::microseconds(1);
  EXPECT_EQ((*warns)->bind(token, "", before)->warning, "");
  EXPECT_EQ((*warns)->bind(token, "", now)->warning, "its review was due on 2026-06-01");
  EXPECT_TRUE((*stops)->bind(token, "", before));
  EXPECT_EQ(
      (*stops)->bind(token, "", now).error().detail(),
      "no role is bound to issuer k8s, subject \"a\"; role \"r\": binding 1 would match, but its "
      "review was due on 2026-06-01");
}

TEST_F(PolicyTest, ExplanationsAreBounded) {
  std::vector<BindingConfig> many(1'000, binding_of("k8s", std::string(100, 'x')));
  const auto policy = compile({role_of("r", many), role_of("s", many)});
  EXPECT_LT(
      (*policy)->bind(token_of("k8s", std::string(2'000, '\x1b')), "", now).error().detail().size(),
      2'100U);
}

TEST_F(PolicyTest, RolesThatCannotBeMeantAreRefused) {
  EXPECT_TRUE(refusal({role_of("r", {binding_of("k8s", "")})}).contains("all of issuer k8s"));
  EXPECT_TRUE(refusal({role_of("r", {binding_of("", "a")})}).contains("must name an issuer"));
  EXPECT_TRUE(refusal({role_of("r", {binding_of("other", "a")})}).contains("not configured"));
  EXPECT_TRUE(refusal({role_of("r", {binding_of("k8s", "a*")})}).contains("role r, binding 1"));
  EXPECT_TRUE(refusal({role_of("r", {}), role_of("r", {})}).contains("defined twice"));
  EXPECT_TRUE(refusal({role_of("r", {binding_of("k8s", "", {{"", "x"}})})}).contains("no name"));
  for (const std::string name : {"", "a b", "a;b", "r\"", "\xc3\xa9"})
    EXPECT_NE(refusal({role_of(name, {})}), "") << name;
  EXPECT_NE(refusal({role_of(std::string(64, 'r'), {})}), "");
  RoleConfig bad_pattern = role_of("r", {});
  bad_pattern.redis = RedisConfig{.read = {"["}, .write = {}, .forget = {}, .commands = {}};
  EXPECT_TRUE(refusal({bad_pattern}).contains("role \"r\", redis read"));
  RoleConfig bad_command = role_of("r", {});
  bad_command.redis = RedisConfig{.read = {}, .write = {}, .forget = {}, .commands = {"FLUSHALL"}};
  EXPECT_TRUE(refusal({bad_command}).contains("lower case"));
}

TEST_F(PolicyTest, DecisionsNameTheirRule) {
  RoleConfig config = role_of("shop", {});
  config.postgres = PostgresConfig{.databases = {"shop", "stock"}};
  config.redis = RedisConfig{.read = {"order:*", "session:*"},
                             .write = {"session:*"},
                             .forget = {},
                             .commands = {"config|get", "debug"}};
  const auto policy = compile({config, role_of("empty", {})});
  ASSERT_TRUE(policy) << policy.error().detail();
  const Role& role = *(*policy)->find("shop");
  const auto decide = [&](DoorName door, Action action, std::string_view resource) {
    const Decision decision = role.decide(door, action, resource);
    return (decision.allowed ? "yes: " : "no: ") + std::string(decision.rule);
  };
  using enum Action;
  EXPECT_EQ(decide(DoorName::redis, read, "order:1"), "yes: role \"shop\", redis read \"order:*\"");
  EXPECT_EQ(decide(DoorName::redis, read, "user:1"),
            "no: role \"shop\", redis read: no pattern matches");
  EXPECT_EQ(decide(DoorName::redis, write, "order:1"),
            "no: role \"shop\", redis write: no pattern matches");
  EXPECT_EQ(decide(DoorName::redis, write, "session:1"),
            "yes: role \"shop\", redis write \"session:*\"");
  EXPECT_EQ(decide(DoorName::redis, forget, "order:1"),
            "no: role \"shop\", redis forget: nothing is allowed");
  EXPECT_EQ(decide(DoorName::redis, command, "config|get"),
            "yes: role \"shop\", redis command \"config|get\"");
  EXPECT_EQ(decide(DoorName::redis, command, "config|set"),
            "no: role \"shop\", redis command: it is not listed");
  EXPECT_EQ(decide(DoorName::redis, command, "debug|sleep"),
            "yes: role \"shop\", redis command \"debug\"");
  EXPECT_EQ(decide(DoorName::redis, command, "config"),
            "no: role \"shop\", redis command: it is not listed");
  EXPECT_EQ(decide(DoorName::redis, connect, ""), "yes: role \"shop\", redis connect");
  EXPECT_EQ(decide(DoorName::postgres, connect, "shop"),
            "yes: role \"shop\", postgres connect \"shop\"");
  EXPECT_EQ(decide(DoorName::postgres, connect, "shop2"),
            "no: role \"shop\", postgres connect: it is not listed");
  EXPECT_EQ(decide(DoorName::postgres, connect, "shop|x"),
            "no: role \"shop\", postgres connect: it is not listed");
  EXPECT_EQ(decide(DoorName::postgres, read, "shop"), "no: role \"shop\" has no such permission");
  EXPECT_EQ(decide(DoorName::http, connect, ""), "no: role \"shop\" has no such permission");
  const Role& empty = *(*policy)->find("empty");
  for (const DoorName door : all_doors) {
    for (const Action action : {connect, read, write, forget, command, publish, subscribe})
      EXPECT_FALSE(empty.decide(door, action, "order:1").allowed);
  }
}

TEST(Names, AreReadAsTheyArePrinted) {
  for (const DoorName door : all_doors)
    EXPECT_EQ(parse_door_name(to_string(door)), door);
  for (const Action action :
       {Action::connect, Action::read, Action::write, Action::forget, Action::command}) {
    EXPECT_EQ(parse_action(to_string(action)), action);
  }
  EXPECT_FALSE(parse_door_name("Redis"));
  EXPECT_FALSE(parse_action(""));
}

TEST_F(PolicyTest, VisitsAreCountedOverReloads) {
  RoleConfig config = role_of("shop", {});
  config.redis = RedisConfig{.read = {}, .write = {}, .forget = {}, .commands = {}};
  const auto first = compile({config});
  const auto second = compile({config});
  const auto& count = (*first)->find("shop")->redis_visits;
  EXPECT_EQ(count, (*second)->find("shop")->redis_visits);
  VisitSlot one = VisitSlot::take(count, 2);
  {
    const VisitSlot two = VisitSlot::take(count, 2);
    EXPECT_TRUE(two.held());
    EXPECT_FALSE(VisitSlot::take(count, 2).held());
    EXPECT_EQ(count->value(), 2U);
  }
  VisitSlot moved = std::move(one);
  EXPECT_TRUE(moved.held());
  EXPECT_EQ(count->value(), 1U);
  moved = VisitSlot();
  EXPECT_EQ(count->value(), 0U);
  EXPECT_TRUE(metrics_.to_prometheus().contains("meridian_visits{role=\"shop\",door=\"redis\"} 0"))
      << metrics_.to_prometheus();
}

}  // namespace
}  // namespace meridian
