//! tokio-postgres through the postgres door.

use meridian_clients::{postgres_port, token};
use tokio_postgres::{Client, Config, NoTls};

fn config() -> Config {
    let mut config = Config::new();
    config
        .host("127.0.0.1")
        .port(postgres_port())
        .dbname("shop")
        .user("checkout")
        .password(token("checkout"));
    config
}

async fn connect() -> Client {
    let (client, connection) = config().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn connects() {
    let row = connect().await.query_one("SELECT current_user::text", &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "checkout");
}
