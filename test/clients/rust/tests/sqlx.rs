//! sqlx through the postgres door.

use std::time::Duration;

use futures_util::TryStreamExt;
use meridian_clients::{
    authority_file, bad_tokens, failures, large, placeholders, postgres_port, token, PARAMETERS_MAX,
};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Connection, Executor, Row};

fn options() -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(postgres_port())
        .database("shop")
        .username("checkout")
        .password(&token("checkout"))
        .ssl_mode(PgSslMode::Disable)
}

async fn connect() -> PgConnection {
    PgConnection::connect_with(&options()).await.unwrap()
}

fn state(error: sqlx::Error) -> String {
    match error.as_database_error().and_then(|told| told.code()) {
        Some(code) => code.to_string(),
        None => panic!("not an error of the server: {error:?}"),
    }
}

#[tokio::test]
async fn rows_are_made_read_changed_and_removed() {
    let mut connection = connect().await;
    let done = sqlx::query("INSERT INTO orders (id, customer_id) VALUES ($1, $2)")
        .bind(6101i64)
        .bind(1i64)
        .execute(&mut connection)
        .await
        .unwrap();
    assert_eq!(done.rows_affected(), 1);
    let row: (String, i64) = sqlx::query_as("SELECT status, revision FROM orders WHERE id = $1")
        .bind(6101i64)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(row, ("open".to_string(), 0));
    let status: String = sqlx::query_scalar("UPDATE orders SET status = $2 WHERE id = $1 RETURNING status")
        .bind(6101i64)
        .bind("paid")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(status, "paid");
    // Not prepared: the statement without a name.
    let done = sqlx::query("DELETE FROM orders WHERE id = $1")
        .bind(6101i64)
        .persistent(false)
        .execute(&mut connection)
        .await
        .unwrap();
    assert_eq!(done.rows_affected(), 1);
    connection.close().await.unwrap();
}

#[tokio::test]
async fn transactions_and_savepoints() {
    let mut connection = connect().await;
    connection.execute("CREATE TEMP TABLE steps (n int)").await.unwrap();
    let mut outer = connection.begin().await.unwrap();
    sqlx::query("INSERT INTO steps VALUES (1)").execute(&mut *outer).await.unwrap();
    let mut inner = outer.begin().await.unwrap();
    sqlx::query("INSERT INTO steps VALUES (2)").execute(&mut *inner).await.unwrap();
    assert_eq!(state(sqlx::query("SELECT 1 / 0").execute(&mut *inner).await.unwrap_err()), "22012");
    inner.rollback().await.unwrap();
    sqlx::query("INSERT INTO steps VALUES (3)").execute(&mut *outer).await.unwrap();
    outer.commit().await.unwrap();
    // Dropped: it is rolled back.
    let mut dropped = connection.begin_with("BEGIN ISOLATION LEVEL SERIALIZABLE").await.unwrap();
    sqlx::query("DELETE FROM steps").execute(&mut *dropped).await.unwrap();
    drop(dropped);
    let steps: Vec<i32> =
        sqlx::query_scalar("SELECT n FROM steps ORDER BY n").fetch_all(&mut connection).await.unwrap();
    assert_eq!(steps, [1, 3]);
}

#[tokio::test]
async fn errors_in_and_outside_of_transactions() {
    let mut connection = connect().await;
    for (sql, wanted) in failures() {
        for persistent in [true, false] {
            let statement = || sqlx::query(AssertSqlSafe(sql.clone())).persistent(persistent);
            assert_eq!(state(statement().execute(&mut connection).await.unwrap_err()), wanted, "{sql}");
            let mut transaction = connection.begin().await.unwrap();
            assert_eq!(state(statement().execute(&mut *transaction).await.unwrap_err()), wanted, "{sql}");
            let refused = sqlx::query("SELECT 1").execute(&mut *transaction).await.unwrap_err();
            assert_eq!(state(refused), "25P02");
            transaction.rollback().await.unwrap();
        }
        let seven: i32 = sqlx::query_scalar("SELECT 7").fetch_one(&mut connection).await.unwrap();
        assert_eq!(seven, 7);
    }
    let duplicate = connection.execute("INSERT INTO orders (id, customer_id) VALUES (1, 1)").await.unwrap_err();
    let told = duplicate.as_database_error().unwrap();
    assert!(told.is_unique_violation());
    assert_eq!(told.constraint(), Some("orders_pkey"));
}

#[tokio::test]
async fn parameters_and_large_values() {
    let mut connection = connect().await;
    let sql = format!("SELECT sum(n) FROM (VALUES {}) v (n)", placeholders(PARAMETERS_MAX, "(", "::int)"));
    let mut query = sqlx::query_scalar(AssertSqlSafe(sql));
    for n in 0..PARAMETERS_MAX as i32 {
        query = query.bind(n);
    }
    let sum: i64 = query.fetch_one(&mut connection).await.unwrap();
    assert_eq!(sum, (0..PARAMETERS_MAX as i64).sum::<i64>());
    let value = large();
    let row = sqlx::query("SELECT $1::bytea").bind(&value).fetch_one(&mut connection).await.unwrap();
    assert!(row.get::<&[u8], _>(0) == value);
    let text = "ü".repeat(value.len() / 2);
    let row = sqlx::query("SELECT $1::text").bind(&text).fetch_one(&mut connection).await.unwrap();
    assert!(row.get::<&str, _>(0) == text);
}

#[tokio::test]
async fn many_rows_and_statements() {
    let mut connection = connect().await;
    let sum = sqlx::query_scalar::<_, i32>("SELECT n FROM generate_series(1, 300000) n")
        .fetch(&mut connection)
        .try_fold(0i64, |sum, n| async move { Ok(sum + i64::from(n)) })
        .await
        .unwrap();
    assert_eq!(sum, 300_000 * 300_001 / 2);
    // A stream that is dropped early.
    let mut rows = sqlx::query("SELECT generate_series(1, 300000)").fetch(&mut connection);
    rows.try_next().await.unwrap().unwrap();
    drop(rows);
    let three = sqlx::raw_sql("SELECT 1; SELECT 2; SELECT 3").fetch_all(&mut connection).await.unwrap();
    assert_eq!(three.len(), 3);
    // More texts than the cache of prepared statements holds.
    for n in 0..500 {
        let found: i32 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT {n} + $1::int")))
            .bind(1)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(found, n + 1);
    }
    connection.clear_cached_statements().await.unwrap();
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_prepared_statements").fetch_one(&mut connection).await.unwrap();
    assert!(left <= 1, "{left}");
}

#[tokio::test]
async fn copy_both_ways() {
    let mut connection = connect().await;
    connection.execute("CREATE TEMP TABLE copied (id int, name text)").await.unwrap();
    let lines: String = (0..100_000).map(|n| format!("{n}\tname {n}\n")).collect();
    let mut copy = connection.copy_in_raw("COPY copied FROM STDIN").await.unwrap();
    copy.send(lines.as_bytes()).await.unwrap();
    assert_eq!(copy.finish().await.unwrap(), 100_000);
    let out = connection.copy_out_raw("COPY copied TO STDOUT").await.unwrap();
    let size = out.try_fold(0, |size, part| async move { Ok(size + part.len()) }).await.unwrap();
    assert_eq!(size, lines.len());
    let mut copy = connection.copy_in_raw("COPY copied FROM STDIN").await.unwrap();
    copy.send("no number\tx\n".as_bytes()).await.unwrap();
    assert_eq!(state(copy.finish().await.unwrap_err()), "22P02");
    let mut copy = connection.copy_in_raw("COPY copied FROM STDIN").await.unwrap();
    copy.send("1\tx\n".as_bytes()).await.unwrap();
    copy.abort("the client changes its mind").await.unwrap();
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM copied").fetch_one(&mut connection).await.unwrap();
    assert_eq!(count, 100_000);
}

#[tokio::test]
async fn notifications() {
    let pool = PgPool::connect_with(options()).await.unwrap();
    let mut listener = PgListener::connect_with(&pool).await.unwrap();
    listener.listen("news_of_sqlx").await.unwrap();
    for n in 0..3 {
        sqlx::query("SELECT pg_notify('news_of_sqlx', $1)").bind(n.to_string()).execute(&pool).await.unwrap();
    }
    for n in 0..3 {
        let heard = tokio::time::timeout(Duration::from_secs(60), listener.recv()).await.unwrap().unwrap();
        assert_eq!(heard.payload(), n.to_string());
    }
    drop(listener);
    pool.close().await;
}

// sqlx has no cancel: a statement whose future is dropped is waited for or its connection closed. The server's own
// cancel reaches the statement all the same.
#[tokio::test]
async fn a_statement_that_another_session_cancels() {
    let mut sleeper = connect().await;
    let process: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut sleeper).await.unwrap();
    let sleeping = tokio::spawn(async move {
        let refused = sqlx::query("SELECT pg_sleep(60)").execute(&mut sleeper).await.unwrap_err();
        let one: i32 = sqlx::query_scalar("SELECT 1").fetch_one(&mut sleeper).await.unwrap();
        (state(refused), one)
    });
    let mut other = connect().await;
    while !sleeping.is_finished() {
        tokio::time::sleep(Duration::from_millis(200)).await;
        sqlx::query(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND query LIKE '%pg_sleep(60)'",
        )
        .bind(process)
        .execute(&mut other)
        .await
        .unwrap();
    }
    assert_eq!(sleeping.await.unwrap(), ("57014".to_string(), 1));
}

#[tokio::test]
async fn a_pool_and_tls() {
    let options = options().host("localhost").ssl_mode(PgSslMode::VerifyFull).ssl_root_cert(authority_file());
    let pool = PgPoolOptions::new().max_connections(16).connect_with(options.clone()).await.unwrap();
    let asked: Vec<_> = (0..300)
        .map(|n| {
            let pool = pool.clone();
            tokio::spawn(async move {
                sqlx::query_scalar::<_, i32>("SELECT $1::int").bind(n).fetch_one(&pool).await.unwrap()
            })
        })
        .collect();
    for (n, answer) in asked.into_iter().enumerate() {
        assert_eq!(answer.await.unwrap(), n as i32);
    }
    pool.close().await;
    assert!(PgConnection::connect_with(&options.host("127.0.0.2")).await.is_err());
}

#[tokio::test]
async fn bad_tokens_are_refused_with_the_rule() {
    for (kind, (bad, rule)) in bad_tokens() {
        let refused = PgConnection::connect_with(&options().password(&bad)).await.unwrap_err();
        let told = refused.as_database_error().unwrap();
        assert_eq!(told.code().unwrap(), "28000");
        assert!(regex::Regex::new(&rule).unwrap().is_match(told.message()), "{kind}: {}", told.message());
    }
}
