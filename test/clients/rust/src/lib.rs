//! What the tests know of the node that ../built.py has started for them.

use std::collections::BTreeMap;

/// A variable that has to be there.
pub fn env(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: these tests are started by test/clients/run.py"))
}

pub fn postgres_port() -> u16 {
    env("NODE_POSTGRES_PORT").parse().unwrap()
}

pub fn redis_port() -> u16 {
    env("NODE_REDIS_PORT").parse().unwrap()
}

/// Of checkout, storefront or clerk.
pub fn token(subject: &str) -> String {
    env(&format!("TOKEN_{}", subject.to_uppercase()))
}

/// By kind: a token that is refused, and the pattern of what the client must be told.
pub fn bad_tokens() -> BTreeMap<String, (String, String)> {
    serde_json::from_str(&env("TOKENS_BAD")).unwrap()
}
