//! What the tests know of the node that ../built.py has started for them.

use std::collections::BTreeMap;

/// A variable that has to be there.
pub fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: these tests are started by test/clients/run.py"))
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

/// The file of the one that signed the node's certificate.
pub fn authority_file() -> String {
    env("NODE_CA")
}

pub fn authority() -> Vec<u8> {
    std::fs::read(authority_file()).unwrap()
}

/// Statements that fail, each with the code that the client must see.
pub fn failures() -> Vec<(String, String)> {
    serde_json::from_str(&env("SQLSTATES")).unwrap()
}

/// As many parameters as the protocol can count.
pub const PARAMETERS_MAX: usize = 65_535;

/// `{prefix}$1{suffix},{prefix}$2{suffix}` and so on.
pub fn placeholders(count: usize, prefix: &str, suffix: &str) -> String {
    let list: Vec<String> = (1..=count).map(|n| format!("{prefix}${n}{suffix}")).collect();
    list.join(",")
}

/// A value of 100 MB that has every byte in it.
pub fn large() -> Vec<u8> {
    (0..100_000_000u32).map(|n| (n % 256) as u8 ^ (n >> 16) as u8).collect()
}

/// What a client's provider of credentials gives: a token of now that is good for so long.
pub fn fresh_token(subject: &str, life: &str) -> String {
    let command: Vec<String> = serde_json::from_str(&env("TOKEN_COMMAND")).unwrap();
    let done = std::process::Command::new(&command[0])
        .args(&command[1..])
        .args([subject, "--ttl", life])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_string()
}
