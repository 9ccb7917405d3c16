import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.io.FileOutputStream;
import java.io.OutputStream;
import java.security.KeyStore;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import redis.clients.jedis.AbstractPipeline;
import redis.clients.jedis.AbstractTransaction;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.DefaultRedisCredentials;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.Jedis;
import redis.clients.jedis.JedisPubSub;
import redis.clients.jedis.RedisClient;
import redis.clients.jedis.RedisProtocol;
import redis.clients.jedis.Response;
import redis.clients.jedis.SslOptions;
import redis.clients.jedis.StreamEntryID;
import redis.clients.jedis.exceptions.JedisAccessControlException;
import redis.clients.jedis.exceptions.JedisConnectionException;
import redis.clients.jedis.exceptions.JedisDataException;
import redis.clients.jedis.exceptions.JedisException;
import redis.clients.jedis.params.ScanParams;
import redis.clients.jedis.params.XAddParams;
import redis.clients.jedis.params.XReadGroupParams;
import redis.clients.jedis.resps.ScanResult;

/** Jedis through the redis door, in RESP2 and RESP3; rows are written with pgjdbc. */
final class JedisTest {
  private static final HostAndPort DOOR = new HostAndPort("127.0.0.1", RunningNode.redisPort());

  private static DefaultJedisClientConfig.Builder config(RedisProtocol protocol, String subject) {
    return DefaultJedisClientConfig.builder().protocol(protocol).user("default").password(RunningNode.token(subject))
        .socketTimeoutMillis(60_000).blockingSocketTimeoutMillis(60_000);
  }

  private static RedisClient open(DefaultJedisClientConfig.Builder config) {
    return RedisClient.builder().hostAndPort(DOOR).clientConfig(config.build()).build();
  }

  private static RedisClient connect(RedisProtocol protocol, String subject) {
    return open(config(protocol, subject));
  }

  private static void refused(Runnable command) {
    JedisException error = assertThrows(JedisException.class, command::run);
    assertTrue(error.getMessage().startsWith("NOPERM role storefront may not"), error.getMessage());
  }

  @ParameterizedTest
  @EnumSource(names = {"RESP2", "RESP3"})
  void viewsAnswerLikeStringsAndHashes(RedisProtocol protocol) {
    try (RedisClient client = connect(protocol, "storefront")) {
      assertTrue(client.get("order:8").contains("\"id\":8"));
      assertEquals("open", client.hgetAll("order:8").get("status"));
      assertEquals("8", client.hmget("order:8", "id", "nothing").get(0));
      assertNull(client.hmget("order:8", "id", "nothing").get(1));
      List<String> many = client.mget("order:8", "order:99999", "product:sku-1");
      assertTrue(many.get(0) != null && many.get(1) == null && many.get(2) != null);
      assertEquals(1, client.exists("order:8", "order:99999"));
      assertEquals("string", client.type("order:8"));
      assertEquals(-1, client.ttl("order:8"));
      assertNull(client.get("order:99999"));
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"RESP2", "RESP3"})
  void aRowIsReadAsItWasJustWritten(RedisProtocol protocol) throws Exception {
    try (Connection sql = RedisTokens.sql();
        PreparedStatement update = sql.prepareStatement("UPDATE orders SET revision = ? WHERE id = 41");
        RedisClient client = connect(protocol, "storefront")) {
      for (int revision = 1; revision <= 50; ++revision) {
        update.setInt(1, revision);
        update.executeUpdate();
        assertEquals(String.valueOf(revision), client.hget("order:41", "revision"));
        String row = client.mget("order:1", "order:41").get(1);
        assertTrue(row.contains("\"revision\":" + revision), row);
      }
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"RESP2", "RESP3"})
  void pipelinesMixViewsAndKeysInOrder(RedisProtocol protocol) {
    try (RedisClient client = connect(protocol, "checkout"); AbstractPipeline pipeline = client.pipelined()) {
      List<Response<String>> values = new ArrayList<>();
      List<Response<String>> views = new ArrayList<>();
      for (int n = 0; n < 500; ++n) {
        pipeline.set("p:" + n, String.valueOf(n));
        values.add(pipeline.get("p:" + n));
        views.add(pipeline.hget("order:1", "id"));
      }
      pipeline.sync();
      for (int n = 0; n < 500; ++n) {
        assertEquals(String.valueOf(n), values.get(n).get());
        assertEquals("1", views.get(n).get());
      }
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"RESP2", "RESP3"})
  void transactionsAndWatch(RedisProtocol protocol) {
    try (RedisClient client = connect(protocol, "checkout")) {
      client.set("n", "1");
      try (AbstractTransaction transaction = client.multi()) {
        transaction.incr("n");
        Response<String> n = transaction.get("n");
        assertEquals(List.of(2L, "2"), transaction.exec());
        assertEquals("2", n.get());
      }
      try (AbstractTransaction transaction = client.transaction(false)) {
        transaction.watch("n");
        client.set("n", "10");
        transaction.multi();
        transaction.incr("n");
        assertNull(transaction.exec());
      }
      assertEquals("10", client.get("n"));
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"RESP2", "RESP3"})
  void aBlockingCommandWaitsAndHoldsUpNobody(RedisProtocol protocol) throws Exception {
    try (RedisClient client = connect(protocol, "checkout")) {
      client.del("queue");
      CompletableFuture<List<String>> popped = CompletableFuture.supplyAsync(() -> client.blpop(30, "queue"));
      for (int n = 0; n < 100; ++n) {
        client.set("k", "v");
      }
      client.rpush("queue", "job");
      assertEquals(List.of("queue", "job"), popped.get(30, TimeUnit.SECONDS));
      assertNull(client.blpop(0.1, "queue"));
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"RESP2", "RESP3"})
  void publishAndSubscribe(RedisProtocol protocol) throws Exception {
    try (RedisClient client = connect(protocol, "checkout")) {
      CountDownLatch subscribed = new CountDownLatch(2);
      CountDownLatch heard = new CountDownLatch(2);
      JedisPubSub subscriber = new JedisPubSub() {
        @Override
        public void onSubscribe(String channel, int count) {
          subscribed.countDown();
        }

        @Override
        public void onMessage(String channel, String message) {
          heard.countDown();
        }
      };
      CompletableFuture<Void> listening =
          CompletableFuture.runAsync(() -> client.subscribe(subscriber, "news", "offers"));
      assertTrue(subscribed.await(30, TimeUnit.SECONDS));
      assertEquals(1, client.publish("news", "hello"));
      assertEquals(1, client.publish("offers", "hello"));
      assertTrue(heard.await(30, TimeUnit.SECONDS));
      subscriber.unsubscribe();
      listening.get(30, TimeUnit.SECONDS);
      assertEquals("PONG", client.ping());
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"RESP2", "RESP3"})
  void scriptsWhereTheyAreGranted(RedisProtocol protocol) {
    try (RedisClient client = connect(protocol, "checkout"); RedisClient storefront = connect(protocol, "storefront")) {
      client.set("scripted", "5");
      assertEquals("5", client.eval("return redis.call('get', KEYS[1])", 1, "scripted"));
      String hash = client.scriptLoad("return ARGV[1]");
      assertEquals("said", client.evalsha(hash, 0, "said"));
      refused(() -> storefront.eval("return 1"));
      refused(() -> storefront.evalsha(hash));
      refused(() -> storefront.scriptLoad("return 1"));
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"RESP2", "RESP3"})
  void scan(RedisProtocol protocol) {
    try (RedisClient client = connect(protocol, "checkout"); RedisClient storefront = connect(protocol, "storefront")) {
      for (int n = 0; n < 300; ++n) {
        client.set("scanned:" + n, "v");
      }
      Set<String> found = new HashSet<>();
      String cursor = ScanParams.SCAN_POINTER_START;
      do {
        ScanResult<String> some = client.scan(cursor, new ScanParams().match("scanned:*").count(50));
        found.addAll(some.getResult());
        cursor = some.getCursor();
      } while (!cursor.equals(ScanParams.SCAN_POINTER_START));
      assertEquals(300, found.size());
      refused(() -> storefront.scan(ScanParams.SCAN_POINTER_START));
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"RESP2", "RESP3"})
  void streamsAndTheirGroups(RedisProtocol protocol) throws Exception {
    try (RedisClient client = connect(protocol, "checkout")) {
      client.del("stream");
      client.xgroupCreate("stream", "workers", new StreamEntryID("0-0"), true);
      CompletableFuture<Map<String, List<redis.clients.jedis.resps.StreamEntry>>> asked =
          CompletableFuture.supplyAsync(() -> client.xreadGroupAsMap("workers", "first",
              new XReadGroupParams().block(30_000), Map.of("stream", StreamEntryID.XREADGROUP_UNDELIVERED_ENTRY)));
      StreamEntryID id = client.xadd("stream", new XAddParams(), Map.of("sku", "sku-1"));
      redis.clients.jedis.resps.StreamEntry entry = asked.get(30, TimeUnit.SECONDS).get("stream").get(0);
      assertEquals(id, entry.getID());
      assertEquals(Map.of("sku", "sku-1"), entry.getFields());
      assertEquals(1, client.xpending("stream", "workers").getTotal());
      assertEquals(1, client.xack("stream", "workers", id));
      assertEquals(1, client.xrange("stream", "-", "+").size());
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"RESP2", "RESP3"})
  void whoIsRefusedSomethingGoesOn(RedisProtocol protocol) {
    try (Jedis client = new Jedis(DOOR, config(protocol, "storefront").build())) {
      long id = client.clientId();
      refused(() -> client.set("other", "v"));
      refused(() -> client.get("other"));
      refused(client::flushAll);
      refused(() -> client.del("order:1"));
      refused(() -> client.keys("*"));
      refused(() -> client.configGet("*"));
      client.set("session:1", "a");
      AbstractPipeline pipeline = client.pipelined();
      Response<String> before = pipeline.get("session:1");
      Response<String> denied = pipeline.get("other");
      Response<String> behind = pipeline.get("session:1");
      pipeline.sync();
      assertEquals("a", before.get());
      refused(denied::get);
      assertEquals("a", behind.get());
      AbstractTransaction transaction = client.multi();
      transaction.set("session:1", "b");
      transaction.set("other", "v");
      assertThrows(JedisDataException.class, transaction::exec);
      assertEquals("a", client.get("session:1"));
      assertEquals(id, client.clientId());
    }
    try (RedisClient client = connect(protocol, "checkout")) {
      JedisException error = assertThrows(JedisException.class, () -> client.set("order:1", "v"));
      assertTrue(error.getMessage().contains("view of table"), error.getMessage());
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"RESP2", "RESP3"})
  void theUserNameSaysWhichRole(RedisProtocol protocol) {
    try (RedisClient client = open(config(protocol, "clerk").user("checkout"))) {
      assertEquals("OK", client.set("other", "v"));
    }
    try (RedisClient client = open(config(protocol, "clerk").user("storefront"))) {
      refused(() -> client.set("other", "v"));
    }
  }

  /** Jedis notices with a call that its connection has ended: it fails, and says why. The next ones have another. */
  @ParameterizedTest
  @EnumSource(names = {"RESP2", "RESP3"})
  void aFreshTokenComesWithTheNextConnection(RedisProtocol protocol) throws Exception {
    RedisTokens.Provider tokens = new RedisTokens.Provider();
    try (RedisClient client = open(DefaultJedisClientConfig.builder().protocol(protocol)
        .credentialsProvider(() -> new DefaultRedisCredentials("default", tokens.token())))) {
      assertEquals("8", client.hget("order:8", "id"));
      tokens.life = "10m";
      assertEquals(1, tokens.given.get());
      List<String> failures = new ArrayList<>();
      long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
      while (tokens.given.get() == 1 && System.nanoTime() < until) {
        try {
          assertEquals("8", client.hget("order:8", "id"));
        } catch (JedisAccessControlException | JedisConnectionException failure) {
          failures.add(failure.getMessage());
        }
        TimeUnit.MILLISECONDS.sleep(100);
      }
      assertEquals(2, tokens.given.get());
      assertFalse(failures.isEmpty());
      assertTrue(failures.size() <= 2 && failures.get(0).contains("token of this session has expired"),
          failures.toString());
      for (int n = 0; n < 20; ++n) {
        assertEquals("8", client.hget("order:8", "id"));
      }
      assertEquals(2, tokens.given.get());
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"RESP2", "RESP3"})
  void aFreshTokenBeforeTheOldOneEndsLeavesTheConnection(RedisProtocol protocol) throws Exception {
    try (Jedis client =
        new Jedis(DOOR, config(protocol, "storefront").password(RedisTokens.fresh("storefront", "4s")).build())) {
      long id = client.clientId();
      client.auth("default", RunningNode.token("storefront"));
      TimeUnit.SECONDS.sleep(6);
      assertEquals("8", client.hget("order:8", "id"));
      assertEquals(id, client.clientId());
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"RESP2", "RESP3"})
  void largeValues(RedisProtocol protocol) {
    try (RedisClient client = connect(protocol, "checkout")) {
      String value = "v".repeat(20_000_000);
      client.set("large", value);
      assertTrue(value.equals(client.get("large")));
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"RESP2", "RESP3"})
  void badTokensAreRefusedWithTheRule(RedisProtocol protocol) {
    RedisTokens.bad().forEach((kind, entry) -> {
      JedisException error = assertThrows(JedisException.class, () -> {
        try (RedisClient client = open(config(protocol, "checkout").password(entry.getKey()))) {
          client.ping();
        }
      });
      StringBuilder said = new StringBuilder();
      for (Throwable cause = error; cause != null; cause = cause.getCause()) {
        said.append(cause.getMessage()).append('\n');
      }
      assertTrue(entry.getValue().matcher(said).find(), kind + ": " + said);
    });
  }

  @Test
  void withoutATokenNothingIsAnswered() {
    try (RedisClient client = RedisClient.builder().hostAndPort(DOOR).build()) {
      JedisException error = assertThrows(JedisException.class, () -> client.get("order:1"));
      assertTrue(error.getMessage().contains("NOAUTH") || String.valueOf(error.getCause()).contains("NOAUTH"),
          error.toString());
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"RESP2", "RESP3"})
  void tls(RedisProtocol protocol) throws Exception {
    KeyStore known = RedisTokens.authority();
    File file = File.createTempFile("authority", ".p12");
    file.deleteOnExit();
    try (OutputStream out = new FileOutputStream(file)) {
      known.store(out, new char[0]);
    }
    SslOptions trusted = SslOptions.builder().truststore(file, new char[0]).trustStoreType(known.getType()).build();
    try (RedisClient client = open(config(protocol, "storefront").sslOptions(trusted))) {
      assertEquals("1", client.hget("order:1", "id"));
    }
    assertThrows(JedisConnectionException.class, () -> {
      try (RedisClient client = open(config(protocol, "storefront").sslOptions(SslOptions.defaults()))) {
        client.ping();
      }
    });
  }
}
