//! redis-rs through the redis door, in RESP2 and RESP3, with and without tokio; rows are written with tokio-postgres.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use meridian_clients::{bad_tokens, env, fresh_token, postgres_port, redis_port, token};
use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::auth::{BasicAuth, StreamingCredentialsProvider};
use redis::streams::{StreamReadOptions, StreamReadReply};
use redis::{
    AsyncCommands, AsyncConnectionConfig, Client, Commands, Connection, ConnectionAddr, ErrorKind, IntoConnectionInfo,
    ProtocolVersion, RedisConnectionInfo, RedisError, RedisResult, ServerErrorKind, TlsCertificates,
};

const PROTOCOLS: [ProtocolVersion; 2] = [ProtocolVersion::RESP2, ProtocolVersion::RESP3];
const PATIENCE: Duration = Duration::from_secs(30);

fn client_at(address: ConnectionAddr, protocol: ProtocolVersion, user: &str, token: &str) -> Client {
    let login = RedisConnectionInfo::default()
        .set_protocol(protocol)
        .set_username(user)
        .set_password(token);
    Client::open(address.into_connection_info().unwrap().set_redis_settings(login)).unwrap()
}

fn address() -> ConnectionAddr {
    ConnectionAddr::Tcp("127.0.0.1".into(), redis_port())
}

fn client(protocol: ProtocolVersion, subject: &str) -> Client {
    client_at(address(), protocol, "default", &token(subject))
}

fn connect(protocol: ProtocolVersion, subject: &str) -> Connection {
    client(protocol, subject).get_connection().unwrap()
}

/// The default gives up on a reply after half a second.
fn patient() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE))
}

async fn connect_async(protocol: ProtocolVersion, subject: &str) -> MultiplexedConnection {
    let client = client(protocol, subject);
    client
        .get_multiplexed_async_connection_with_config(&patient())
        .await
        .unwrap()
}

#[track_caller]
fn refused<Value: std::fmt::Debug>(said: RedisResult<Value>) {
    let error = said.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server(ServerErrorKind::NoPerm), "{error}");
    assert!(error.to_string().contains("role storefront may not"), "{error}");
}

async fn sql() -> tokio_postgres::Client {
    let mut config = tokio_postgres::Config::new();
    config
        .host("127.0.0.1")
        .port(postgres_port())
        .dbname("shop")
        .user("checkout")
        .password(token("checkout"));
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[test]
fn views_answer_like_strings_and_hashes() {
    for protocol in PROTOCOLS {
        let mut redis = connect(protocol, "storefront");
        let order: String = redis.get("order:8").unwrap();
        assert!(order.contains("\"id\":8"), "{order}");
        let row: HashMap<String, String> = redis.hgetall("order:8").unwrap();
        assert_eq!(row["status"], "open");
        let fields: (String, Option<String>) = redis.hmget("order:8", &["id", "nothing"]).unwrap();
        assert_eq!(fields, ("8".to_string(), None));
        let many: Vec<Option<String>> = redis.mget(&["order:8", "order:99999", "product:sku-1"]).unwrap();
        assert_eq!(
            many.iter().map(Option::is_some).collect::<Vec<_>>(),
            [true, false, true]
        );
        assert_eq!(redis.exists::<_, i64>(&["order:8", "order:99999"]).unwrap(), 1);
        assert_eq!(redis.ttl::<_, i64>("order:8").unwrap(), -1);
        assert_eq!(redis.get::<_, Option<String>>("order:99999").unwrap(), None);
    }
}

#[tokio::test]
async fn a_row_is_read_as_it_was_just_written() {
    let sql = sql().await;
    for protocol in PROTOCOLS {
        let mut redis = connect_async(protocol, "storefront").await;
        for revision in 1..=50i64 {
            sql.execute("UPDATE orders SET revision = $1 WHERE id = 61", &[&revision])
                .await
                .unwrap();
            let found: i64 = redis.hget("order:61", "revision").await.unwrap();
            assert_eq!(found, revision);
            let many: Vec<String> = redis.mget(&["order:1", "order:61"]).await.unwrap();
            assert!(many[1].contains(&format!("\"revision\":{revision}")), "{}", many[1]);
        }
    }
}

#[test]
fn pipelines_mix_views_and_keys_in_order() {
    for protocol in PROTOCOLS {
        let mut redis = connect(protocol, "checkout");
        let mut pipeline = redis::pipe();
        for n in 0..500 {
            pipeline.set(format!("p:{n}"), n).ignore();
            pipeline.get(format!("p:{n}")).hget("order:1", "id");
        }
        let said: Vec<u32> = pipeline.query(&mut redis).unwrap();
        assert_eq!(said.len(), 1000);
        for (n, pair) in said.chunks(2).enumerate() {
            assert_eq!(pair, [n as u32, 1]);
        }
    }
}

#[test]
fn transactions_and_watch() {
    for protocol in PROTOCOLS {
        let mut redis = connect(protocol, "checkout");
        redis.set::<_, _, ()>("rs:n", 1).unwrap();
        let said: (i64, i64) = redis::pipe()
            .atomic()
            .incr("rs:n", 1)
            .get("rs:n")
            .query(&mut redis)
            .unwrap();
        assert_eq!(said, (2, 2));
        redis::cmd("WATCH").arg("rs:n").exec(&mut redis).unwrap();
        connect(protocol, "checkout").set::<_, _, ()>("rs:n", 10).unwrap();
        let said: Option<(i64,)> = redis::pipe().atomic().incr("rs:n", 1).query(&mut redis).unwrap();
        assert_eq!(said, None);
        // redis-rs tries anew until nobody interferes.
        let mut tries = 0;
        let said: (i64,) = redis::transaction(&mut redis, &["rs:n"], |redis, pipeline| {
            tries += 1;
            if tries == 1 {
                connect(protocol, "checkout").set::<_, _, ()>("rs:n", 20).unwrap();
            }
            pipeline.incr("rs:n", 1).query(redis)
        })
        .unwrap();
        assert_eq!((said.0, tries), (21, 2));
    }
}

#[tokio::test]
async fn a_blocking_command_waits_and_holds_up_nobody() {
    for protocol in PROTOCOLS {
        let queue = format!("rs:queue:{protocol:?}");
        let mut redis = connect_async(protocol, "checkout").await;
        let mut waiting = connect_async(protocol, "checkout").await;
        redis.del::<_, ()>(&queue).await.unwrap();
        let name = queue.clone();
        let popped = tokio::spawn(async move { waiting.blpop::<_, (String, String)>(name, 30.0).await });
        for _ in 0..100 {
            redis.set::<_, _, ()>("rs:k", "v").await.unwrap();
        }
        redis.rpush::<_, _, ()>(&queue, "job").await.unwrap();
        assert_eq!(popped.await.unwrap().unwrap(), (queue.clone(), "job".to_string()));
        let nothing: Option<(String, String)> = redis.blpop(&queue, 0.1).await.unwrap();
        assert_eq!(nothing, None);
    }
}

#[tokio::test]
async fn publish_and_subscribe() {
    for protocol in PROTOCOLS {
        let channel = format!("rs:news:{protocol:?}");
        let mut redis = connect_async(protocol, "checkout").await;
        let mut subscriber = client(protocol, "checkout").get_async_pubsub().await.unwrap();
        subscriber.subscribe(&channel).await.unwrap();
        subscriber.psubscribe(format!("{channel}*")).await.unwrap();
        assert_eq!(redis.publish::<_, _, i64>(&channel, "hello").await.unwrap(), 2);
        let mut messages = subscriber.on_message();
        for _ in 0..2 {
            let message = tokio::time::timeout(PATIENCE, messages.next()).await.unwrap().unwrap();
            assert_eq!(message.get_payload::<String>().unwrap(), "hello");
            assert_eq!(message.get_channel_name(), channel);
        }
    }
}

/// In RESP3 messages come between the replies of one connection.
#[tokio::test]
async fn messages_between_replies() {
    let (sender, mut pushes) = tokio::sync::mpsc::unbounded_channel();
    let config = patient().set_push_sender(sender);
    let client = client(ProtocolVersion::RESP3, "checkout");
    let mut redis = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .unwrap();
    redis.subscribe("rs:between").await.unwrap();
    for n in 0..100 {
        assert_eq!(redis.publish::<_, _, i64>("rs:between", n).await.unwrap(), 1);
        redis.set::<_, _, ()>("rs:k", n).await.unwrap();
        assert_eq!(redis.get::<_, i64>("rs:k").await.unwrap(), n);
    }
    let mut heard = Vec::new();
    while heard.len() < 100 {
        let push = tokio::time::timeout(PATIENCE, pushes.recv()).await.unwrap().unwrap();
        if push.kind == redis::PushKind::Message {
            heard.push(redis::from_redis_value::<i64>(push.data[1].clone()).unwrap());
        }
    }
    assert_eq!(heard, (0..100).collect::<Vec<_>>());
}

#[test]
fn scripts_where_they_are_granted() {
    for protocol in PROTOCOLS {
        let mut redis = connect(protocol, "checkout");
        redis.set::<_, _, ()>("rs:scripted", 5).unwrap();
        // Sent by its hash first, as it is where Redis does not know that.
        let script = redis::Script::new(&format!("return redis.call('get', KEYS[1]) .. '{protocol:?}'"));
        for _ in 0..2 {
            let said: String = script.key("rs:scripted").invoke(&mut redis).unwrap();
            assert_eq!(said, format!("5{protocol:?}"));
        }
        let mut storefront = connect(protocol, "storefront");
        refused(script.key("session:1").invoke::<String>(&mut storefront));
        refused(redis::cmd("EVAL").arg("return 1").arg(0).query::<i64>(&mut storefront));
        refused(script.prepare_invoke().load(&mut storefront));
    }
}

#[test]
fn scan() {
    for protocol in PROTOCOLS {
        let mut redis = connect(protocol, "checkout");
        for n in 0..300 {
            redis.set::<_, _, ()>(format!("rs:scanned:{n}"), "v").unwrap();
        }
        let found: RedisResult<HashSet<String>> = redis.scan_match("rs:scanned:*").unwrap().collect();
        assert_eq!(found.unwrap().len(), 300);
        refused(
            redis::cmd("SCAN")
                .arg(0)
                .query::<redis::Value>(&mut connect(protocol, "storefront")),
        );
    }
}

#[tokio::test]
async fn streams_and_their_groups() {
    for protocol in PROTOCOLS {
        let stream = format!("rs:stream:{protocol:?}");
        let mut redis = connect_async(protocol, "checkout").await;
        let mut reader = connect_async(protocol, "checkout").await;
        redis.del::<_, ()>(&stream).await.unwrap();
        redis
            .xgroup_create_mkstream::<_, _, _, ()>(&stream, "workers", "0")
            .await
            .unwrap();
        let name = stream.clone();
        let asked = tokio::spawn(async move {
            let options = StreamReadOptions::default().group("workers", "first").block(30_000);
            reader
                .xread_options::<_, _, StreamReadReply>(&[name], &[">"], &options)
                .await
        });
        let id: String = redis.xadd(&stream, "*", &[("sku", "sku-1")]).await.unwrap();
        let reply = asked.await.unwrap().unwrap();
        assert_eq!(reply.keys[0].ids[0].id, id);
        assert_eq!(reply.keys[0].ids[0].get::<String>("sku").unwrap(), "sku-1");
        assert_eq!(redis.xack::<_, _, _, i64>(&stream, "workers", &[&id]).await.unwrap(), 1);
        assert_eq!(redis.xlen::<_, i64>(&stream).await.unwrap(), 1);
    }
}

#[test]
fn who_is_refused_something_goes_on() {
    for protocol in PROTOCOLS {
        let mut redis = connect(protocol, "storefront");
        let id: i64 = redis::cmd("CLIENT").arg("ID").query(&mut redis).unwrap();
        refused(redis.set::<_, _, ()>("other", "v"));
        refused(redis.get::<_, String>("other"));
        refused(redis::cmd("FLUSHALL").exec(&mut redis));
        refused(redis.del::<_, ()>("order:1"));
        refused(redis.keys::<_, Vec<String>>("*"));
        redis.set::<_, _, ()>("session:1", "a").unwrap();
        refused(
            redis::pipe()
                .get("session:1")
                .get("other")
                .get("session:1")
                .query::<Vec<String>>(&mut redis),
        );
        let denied = redis::pipe()
            .atomic()
            .set("session:1", "b")
            .set("other", "v")
            .query::<()>(&mut redis);
        assert!(denied.is_err());
        assert_eq!(redis.get::<_, String>("session:1").unwrap(), "a");
        assert_eq!(redis::cmd("CLIENT").arg("ID").query::<i64>(&mut redis).unwrap(), id);
        let error = connect(protocol, "checkout")
            .set::<_, _, ()>("order:1", "v")
            .unwrap_err();
        assert!(error.to_string().contains("view of table"), "{error}");
    }
}

#[test]
fn the_user_name_says_which_role() {
    for protocol in PROTOCOLS {
        let connect = |role| {
            client_at(address(), protocol, role, &token("clerk"))
                .get_connection()
                .unwrap()
        };
        connect("checkout").set::<_, _, ()>("other", "v").unwrap();
        refused(connect("storefront").set::<_, _, ()>("other", "v"));
    }
}

/// Each connection begins with a token of its own. Those that are `renewed` get another one a second later.
#[derive(Clone)]
struct Tokens {
    long: Arc<AtomicBool>,
    renewed: bool,
}

impl Tokens {
    fn new(renewed: bool) -> Self {
        Tokens {
            long: Arc::default(),
            renewed,
        }
    }
}

impl StreamingCredentialsProvider for Tokens {
    fn subscribe(&self) -> Pin<Box<dyn Stream<Item = RedisResult<BasicAuth>> + Send + 'static>> {
        let token = |life| Ok(BasicAuth::new("default".into(), fresh_token("storefront", life)));
        let (long, renewed) = (self.long.clone(), self.renewed);
        let first =
            futures_util::stream::once(async move { token(if long.load(Ordering::SeqCst) { "10m" } else { "3s" }) });
        let second = futures_util::stream::once(async move {
            if !renewed {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            token("10m")
        });
        Box::pin(first.chain(second).chain(futures_util::stream::pending()))
    }
}

async fn client_id(redis: &mut (impl redis::aio::ConnectionLike + Send)) -> Result<i64, RedisError> {
    redis::cmd("CLIENT").arg("ID").query_async(redis).await
}

/// The manager notices with a call that its connection has ended, and makes another.
#[tokio::test]
async fn a_fresh_token_comes_with_the_next_connection() {
    for protocol in PROTOCOLS {
        let tokens = Tokens::new(false);
        let config = ConnectionManagerConfig::new()
            .set_credentials_provider(tokens.clone())
            .set_response_timeout(Some(PATIENCE))
            .set_connection_timeout(Some(PATIENCE));
        let client = client_at(address(), protocol, "default", "replaced");
        let mut redis = ConnectionManager::new_with_config(client, config).await.unwrap();
        let first = client_id(&mut redis).await.unwrap();
        tokens.long.store(true, Ordering::SeqCst);
        let until = Instant::now() + PATIENCE;
        let mut failures = Vec::new();
        loop {
            match client_id(&mut redis).await {
                Ok(id) if id != first => break,
                Ok(_) => {}
                Err(error) => failures.push(error.to_string()),
            }
            assert!(
                Instant::now() < until,
                "the connection has outlived its token: {failures:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(failures.len() <= 3, "{failures:?}");
        assert_eq!(redis.hget::<_, _, i64>("order:8", "id").await.unwrap(), 8);
    }
}

#[tokio::test]
async fn a_fresh_token_before_the_old_one_ends_leaves_the_connection() {
    for protocol in PROTOCOLS {
        let tokens = Tokens::new(true);
        let config = patient().set_credentials_provider(tokens.clone());
        let client = client_at(address(), protocol, "default", "replaced");
        let mut redis = client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .unwrap();
        let first = client_id(&mut redis).await.unwrap();
        let until = Instant::now() + Duration::from_secs(6);
        while Instant::now() < until {
            assert_eq!(redis.hget::<_, _, i64>("order:8", "id").await.unwrap(), 8);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(client_id(&mut redis).await.unwrap(), first);
    }
}

#[tokio::test]
async fn many_at_once_on_one_connection() {
    for protocol in PROTOCOLS {
        let redis = connect_async(protocol, "checkout").await;
        let tasks = (0..64).map(|task| {
            let mut redis = redis.clone();
            tokio::spawn(async move {
                for n in 0..50 {
                    let (key, id) = (format!("rs:task:{task}"), 1 + (task + n) % 50);
                    redis.set::<_, _, ()>(&key, n).await.unwrap();
                    assert_eq!(redis.get::<_, i64>(&key).await.unwrap(), n);
                    assert_eq!(redis.hget::<_, _, i64>(format!("order:{id}"), "id").await.unwrap(), id);
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    }
}

#[test]
fn large_values() {
    for protocol in PROTOCOLS {
        let mut redis = connect(protocol, "checkout");
        let value = vec![b'v'; 20_000_000];
        redis.set::<_, _, ()>("rs:large", &value).unwrap();
        assert!(redis.get::<_, Vec<u8>>("rs:large").unwrap() == value);
    }
}

#[test]
fn bad_tokens_are_refused_with_the_rule() {
    for protocol in PROTOCOLS {
        for (kind, (token, rule)) in bad_tokens() {
            let error = client_at(address(), protocol, "default", &token)
                .get_connection()
                .err()
                .unwrap();
            assert!(!error.is_io_error(), "{kind}: {error}");
            if protocol == ProtocolVersion::RESP2 {
                // redis-rs keeps the text of this one to itself.
                assert_eq!(error.kind(), ErrorKind::AuthenticationFailed, "{kind}: {error}");
            } else {
                let rule = regex::Regex::new(&rule).unwrap();
                assert!(rule.is_match(&error.to_string()), "{kind}: {error}");
            }
        }
    }
    let nobody = Client::open(address().into_connection_info().unwrap()).unwrap();
    let said = nobody
        .get_connection()
        .and_then(|mut redis| redis.get::<_, String>("order:1"));
    assert!(said.unwrap_err().to_string().contains("NOAUTH"));
}

#[tokio::test]
async fn tls() {
    let authority = std::fs::read(env("NODE_CA")).unwrap();
    for protocol in PROTOCOLS {
        let secure = || {
            let address = ConnectionAddr::TcpTls {
                host: "localhost".into(),
                port: redis_port(),
                insecure: false,
                tls_params: None,
            };
            client_at(address, protocol, "default", &token("storefront"))
                .get_connection_info()
                .clone()
        };
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert: Some(authority.clone()),
        };
        let client = Client::build_with_tls(secure(), certificates).unwrap();
        assert_eq!(
            client
                .get_connection()
                .unwrap()
                .hget::<_, _, i64>("order:1", "id")
                .unwrap(),
            1
        );
        let mut redis = client
            .get_multiplexed_async_connection_with_config(&patient())
            .await
            .unwrap();
        assert_eq!(redis.hget::<_, _, i64>("order:1", "id").await.unwrap(), 1);
        // Without the authority's certificate.
        assert!(Client::open(secure()).unwrap().get_connection().is_err());
    }
}
