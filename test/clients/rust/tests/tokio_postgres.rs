//! tokio-postgres through the postgres door.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join_all, poll_fn};
use futures_util::{stream, SinkExt, StreamExt, TryStreamExt};
use meridian_clients::{authority, bad_tokens, failures, large, placeholders, postgres_port, token, PARAMETERS_MAX};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, Error, IsolationLevel, NoTls, SimpleQueryMessage};

fn config() -> Config {
    let mut config = Config::new();
    config.host("127.0.0.1").port(postgres_port()).dbname("shop").user("checkout").password(token("checkout"));
    config
}

async fn connect() -> Client {
    let (client, connection) = config().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn state(error: Error) -> String {
    match error.code() {
        Some(code) => code.code().to_string(),
        None => panic!("not an error of the server: {error:?}"),
    }
}

#[tokio::test]
async fn rows_are_made_read_changed_and_removed() {
    let client = connect().await;
    let insert = "INSERT INTO orders (id, customer_id) VALUES ($1, $2)";
    assert_eq!(client.execute(insert, &[&6001i64, &1i64]).await.unwrap(), 1);
    let row = client.query_one("SELECT status, revision FROM orders WHERE id = $1", &[&6001i64]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, i64>(1)), ("open", 0));
    let update = "UPDATE orders SET status = $2 WHERE id = $1 RETURNING status";
    let row = client.query_one(update, &[&6001i64, &"paid"]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "paid");
    let types = [(&6001i64 as &(dyn ToSql + Sync), Type::INT8)];
    let rows = client.query_typed("DELETE FROM orders WHERE id = $1 RETURNING id", &types).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert!(client.query_opt("SELECT 1 FROM orders WHERE id = $1", &[&6001i64]).await.unwrap().is_none());
}

#[tokio::test]
async fn transactions_and_savepoints() {
    let mut client = connect().await;
    client.batch_execute("CREATE TEMP TABLE steps (n int)").await.unwrap();
    let mut outer = client.build_transaction().isolation_level(IsolationLevel::Serializable).start().await.unwrap();
    outer.execute("INSERT INTO steps VALUES (1)", &[]).await.unwrap();
    let inner = outer.savepoint("step").await.unwrap();
    inner.execute("INSERT INTO steps VALUES (2)", &[]).await.unwrap();
    assert_eq!(state(inner.query_one("SELECT 1 / 0", &[]).await.unwrap_err()), "22012");
    inner.rollback().await.unwrap();
    outer.execute("INSERT INTO steps VALUES (3)", &[]).await.unwrap();
    outer.commit().await.unwrap();
    // Dropped: it is rolled back.
    let dropped = client.transaction().await.unwrap();
    dropped.execute("DELETE FROM steps", &[]).await.unwrap();
    drop(dropped);
    let row = client.query_one("SELECT array_agg(n ORDER BY n) FROM steps", &[]).await.unwrap();
    assert_eq!(row.get::<_, Vec<i32>>(0), [1, 3]);
    let reading = client.build_transaction().read_only(true).start().await.unwrap();
    let refused = reading.execute("DELETE FROM orders", &[]).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::READ_ONLY_SQL_TRANSACTION));
}

#[tokio::test]
async fn errors_in_and_outside_of_transactions() {
    let mut client = connect().await;
    for (sql, wanted) in failures() {
        assert_eq!(state(client.execute(&*sql, &[]).await.unwrap_err()), wanted, "{sql}");
        assert_eq!(state(client.simple_query(&sql).await.unwrap_err()), wanted, "{sql}");
        let transaction = client.transaction().await.unwrap();
        assert_eq!(state(transaction.execute(&*sql, &[]).await.unwrap_err()), wanted, "{sql}");
        assert_eq!(state(transaction.execute("SELECT 1", &[]).await.unwrap_err()), "25P02");
        transaction.rollback().await.unwrap();
        assert_eq!(client.query_one("SELECT 7", &[]).await.unwrap().get::<_, i32>(0), 7);
    }
    let duplicate = client.execute("INSERT INTO orders (id, customer_id) VALUES (1, 1)", &[]).await.unwrap_err();
    assert_eq!(duplicate.as_db_error().unwrap().constraint(), Some("orders_pkey"));
}

#[tokio::test]
async fn parameters_and_large_values() {
    let client = connect().await;
    let values: Vec<i32> = (0..PARAMETERS_MAX as i32).collect();
    let parameters: Vec<&(dyn ToSql + Sync)> = values.iter().map(|n| n as &(dyn ToSql + Sync)).collect();
    let sql = format!("SELECT sum(n) FROM (VALUES {}) v (n)", placeholders(PARAMETERS_MAX, "(", "::int)"));
    let row = client.query_one(&*sql, &parameters).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), values.iter().map(|n| i64::from(*n)).sum::<i64>());
    let value = large();
    let row = client.query_one("SELECT $1::bytea", &[&value]).await.unwrap();
    assert!(row.get::<_, &[u8]>(0) == value);
    let text = "ü".repeat(value.len() / 2);
    let row = client.query_one("SELECT $1::text", &[&text]).await.unwrap();
    assert!(row.get::<_, &str>(0) == text);
}

#[tokio::test]
async fn a_message_above_the_bound_is_refused_by_name() {
    let client = connect().await;
    let refused = client.query_one("SELECT $1::bytea", &[&vec![0u8; 300 << 20]]).await.unwrap_err();
    assert_eq!(state(refused), "54000");
}

#[tokio::test]
async fn many_rows_and_portals() {
    let mut client = connect().await;
    let rows = client.query_raw("SELECT n FROM generate_series(1, 300000) n", Vec::<i32>::new()).await.unwrap();
    let sum = rows.try_fold(0i64, |sum, row| async move { Ok(sum + i64::from(row.get::<_, i32>(0))) }).await.unwrap();
    assert_eq!(sum, 300_000 * 300_001 / 2);
    // A stream that is dropped early.
    let rows = client.query_raw("SELECT generate_series(1, 300000)", Vec::<i32>::new()).await.unwrap();
    pin!(rows).next().await.unwrap().unwrap();
    let messages = client.simple_query("SELECT 1; SELECT 2; SELECT 3").await.unwrap();
    assert_eq!(messages.iter().filter(|message| matches!(message, SimpleQueryMessage::Row(_))).count(), 3);
    let transaction = client.transaction().await.unwrap();
    let portal = transaction.bind("SELECT generate_series(1, 10000)", &[]).await.unwrap();
    let mut read = 0;
    loop {
        // Other statements in between leave the portal alone.
        transaction.execute("UPDATE orders SET revision = revision WHERE id = 2", &[]).await.unwrap();
        let part = transaction.query_portal(&portal, 999).await.unwrap();
        if part.is_empty() {
            break;
        }
        read += part.len();
    }
    assert_eq!(read, 10_000);
}

#[tokio::test]
async fn prepared_and_pipelined_statements() {
    let client = connect().await;
    let statement = client.prepare("SELECT $1::int * 2").await.unwrap();
    assert_eq!(statement.params(), [Type::INT4]);
    let values: Vec<i32> = (0..20_000).collect();
    let answers = join_all(values.iter().map(|n| {
        let (client, statement) = (&client, &statement);
        async move { client.query_one(statement, &[n]).await.unwrap().get::<_, i32>(0) }
    }))
    .await;
    assert!(answers.iter().zip(&values).all(|(answer, n)| *answer == 2 * n));
    // One of many fails; the others do not notice.
    let answers = join_all((0..200).map(|n| {
        let client = &client;
        async move { client.query_one("SELECT 100 / ($1::int - 100)", &[&n]).await.map_err(state) }
    }))
    .await;
    let failed: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert_eq!(failed, ["22012"]);
    drop(statement);
    let left = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%* 2'";
    assert_eq!(client.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn copy_both_ways() {
    let client = connect().await;
    client.batch_execute("CREATE TEMP TABLE copied (id int, name text)").await.unwrap();
    let sink = client.copy_in("COPY copied FROM STDIN").await.unwrap();
    let lines = (0..100_000).map(|n| Ok(Bytes::from(format!("{n}\tname {n}\n"))));
    let mut sink = pin!(sink);
    sink.send_all(&mut stream::iter(lines)).await.unwrap();
    assert_eq!(sink.finish().await.unwrap(), 100_000);
    let out = client.copy_out("COPY copied TO STDOUT").await.unwrap();
    let size = out.try_fold(0, |size, part| async move { Ok(size + part.len()) }).await.unwrap();
    assert_eq!(size, (0..100_000).map(|n| format!("{n}\tname {n}\n").len()).sum::<usize>());
    let sink = client.copy_in("COPY copied FROM STDIN").await.unwrap();
    let mut sink = pin!(sink);
    sink.send(Bytes::from_static(b"no number\tx\n")).await.unwrap();
    assert_eq!(state(sink.finish().await.unwrap_err()), "22P02");
    // Dropped: the copy is called off.
    let sink: tokio_postgres::CopyInSink<Bytes> = client.copy_in("COPY copied FROM STDIN").await.unwrap();
    drop(sink);
    let row = client.query_one("SELECT count(*) FROM copied", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 100_000);
}

#[tokio::test]
async fn notifications() {
    let (listener, mut connection) = config().connect(NoTls).await.unwrap();
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notification) = message {
                heard.send(notification.payload().to_string()).unwrap();
            }
        }
    });
    listener.batch_execute("LISTEN news_of_rust").await.unwrap();
    let speaker = connect().await;
    for n in 0..3 {
        speaker.execute("SELECT pg_notify('news_of_rust', $1)", &[&n.to_string()]).await.unwrap();
    }
    for n in 0..3 {
        let payload = tokio::time::timeout(Duration::from_secs(60), hears.recv()).await.unwrap();
        assert_eq!(payload, Some(n.to_string()));
    }
}

#[tokio::test]
async fn cancel() {
    let client = connect().await;
    let cancel = client.cancel_token();
    let canceller = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            cancel.cancel_query(NoTls).await.unwrap();
        }
    });
    assert_eq!(state(client.execute("SELECT pg_sleep(60)", &[]).await.unwrap_err()), "57014");
    canceller.abort();
    let _ = canceller.await;
    // One more may have been on its way.
    let _ = client.execute("SELECT pg_sleep(0.5)", &[]).await;
    assert_eq!(client.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
}

#[tokio::test]
async fn tls() {
    let mut config = Config::new();
    config
        .host("localhost")
        .port(postgres_port())
        .dbname("shop")
        .user("storefront")
        .password(token("clerk"))
        .ssl_mode(tokio_postgres::config::SslMode::Require);
    let certificate = native_tls::Certificate::from_pem(&authority()).unwrap();
    let trusting = native_tls::TlsConnector::builder().add_root_certificate(certificate).build().unwrap();
    let connector = postgres_native_tls::MakeTlsConnector::new(trusting);
    let (client, connection) = config.connect(connector).await.unwrap();
    tokio::spawn(connection);
    let row = client.query_one("SELECT current_user::text", &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "storefront");
    let wary = postgres_native_tls::MakeTlsConnector::new(native_tls::TlsConnector::new().unwrap());
    assert!(config.connect(wary).await.is_err());
}

#[tokio::test]
async fn bad_tokens_are_refused_with_the_rule() {
    for (kind, (bad, rule)) in bad_tokens() {
        let Err(refused) = config().password(bad).connect(NoTls).await else {
            panic!("{kind} was let in");
        };
        let told = refused.as_db_error().unwrap();
        assert_eq!(told.code().code(), "28000");
        assert!(regex::Regex::new(&rule).unwrap().is_match(told.message()), "{kind}: {}", told.message());
    }
}
