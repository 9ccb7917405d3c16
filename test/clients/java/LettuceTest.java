import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.lettuce.core.ClientOptions;
import io.lettuce.core.Consumer;
import io.lettuce.core.KeyScanCursor;
import io.lettuce.core.KeyValue;
import io.lettuce.core.LettuceFutures;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisCredentials;
import io.lettuce.core.RedisCredentialsProvider;
import io.lettuce.core.RedisException;
import io.lettuce.core.RedisFuture;
import io.lettuce.core.RedisURI;
import io.lettuce.core.ScanArgs;
import io.lettuce.core.ScriptOutputType;
import io.lettuce.core.SslOptions;
import io.lettuce.core.StreamMessage;
import io.lettuce.core.TransactionResult;
import io.lettuce.core.XGroupCreateArgs;
import io.lettuce.core.XReadArgs;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.api.async.RedisAsyncCommands;
import io.lettuce.core.api.sync.RedisCommands;
import io.lettuce.core.protocol.ProtocolVersion;
import io.lettuce.core.pubsub.RedisPubSubAdapter;
import io.lettuce.core.pubsub.StatefulRedisPubSubConnection;
import java.io.File;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;

/** Lettuce through the redis door, in RESP2 and RESP3; rows are written with pgjdbc. */
final class LettuceTest {
  private final List<RedisClient> clients = new ArrayList<>();

  @AfterEach
  void shutDown() {
    clients.forEach(client -> client.shutdown(Duration.ZERO, Duration.ofSeconds(10)));
  }

  private static RedisURI.Builder uri(String subject) {
    return uri("default", RunningNode.token(subject));
  }

  private static RedisURI.Builder uri(String user, String token) {
    return RedisURI.builder().withHost("127.0.0.1").withPort(RunningNode.redisPort()).withTimeout(Duration.ofSeconds(60))
        .withAuthentication(user, token);
  }

  private RedisClient client(ProtocolVersion protocol, RedisURI.Builder uri) {
    return client(uri, ClientOptions.builder().protocolVersion(protocol));
  }

  private RedisClient client(RedisURI.Builder uri, ClientOptions.Builder options) {
    RedisClient client = RedisClient.create(uri.build());
    client.setOptions(options.build());
    clients.add(client);
    return client;
  }

  private RedisCommands<String, String> connect(ProtocolVersion protocol, String subject) {
    return client(protocol, uri(subject)).connect().sync();
  }

  private static void refused(Runnable command) {
    RedisException error = assertThrows(RedisException.class, command::run);
    assertTrue(error.getMessage().startsWith("NOPERM role storefront may not"), error.getMessage());
  }

  @ParameterizedTest
  @EnumSource
  void viewsAnswerLikeStringsAndHashes(ProtocolVersion protocol) {
    RedisCommands<String, String> redis = connect(protocol, "storefront");
    assertTrue(redis.get("order:8").contains("\"id\":8"));
    assertEquals("open", redis.hgetall("order:8").get("status"));
    assertEquals(List.of(KeyValue.just("id", "8"), KeyValue.<String, String>empty("nothing")),
        redis.hmget("order:8", "id", "nothing"));
    List<KeyValue<String, String>> many = redis.mget("order:8", "order:99999", "product:sku-1");
    assertTrue(many.get(0).hasValue() && !many.get(1).hasValue() && many.get(2).hasValue());
    assertEquals(1, redis.exists("order:8", "order:99999"));
    assertEquals("string", redis.type("order:8"));
    assertEquals(-1, redis.ttl("order:8"));
    assertNull(redis.get("order:99999"));
  }

  @ParameterizedTest
  @EnumSource
  void aRowIsReadAsItWasJustWritten(ProtocolVersion protocol) throws Exception {
    RedisCommands<String, String> redis = connect(protocol, "storefront");
    try (Connection sql = RedisTokens.sql();
        PreparedStatement update = sql.prepareStatement("UPDATE orders SET revision = ? WHERE id = 51")) {
      for (int revision = 1; revision <= 50; ++revision) {
        update.setInt(1, revision);
        update.executeUpdate();
        assertEquals(String.valueOf(revision), redis.hget("order:51", "revision"));
        String row = redis.mget("order:1", "order:51").get(1).getValue();
        assertTrue(row.contains("\"revision\":" + revision), row);
      }
    }
  }

  /** Lettuce sends what is asked for together, on one connection. */
  @ParameterizedTest
  @EnumSource
  void pipelinesMixViewsAndKeysInOrder(ProtocolVersion protocol) throws Exception {
    try (StatefulRedisConnection<String, String> connection = client(protocol, uri("checkout")).connect()) {
      RedisAsyncCommands<String, String> redis = connection.async();
      connection.setAutoFlushCommands(false);
      List<RedisFuture<String>> values = new ArrayList<>();
      List<RedisFuture<String>> views = new ArrayList<>();
      for (int n = 0; n < 500; ++n) {
        redis.set("p:" + n, String.valueOf(n));
        values.add(redis.get("p:" + n));
        views.add(redis.hget("order:1", "id"));
      }
      connection.flushCommands();
      assertTrue(LettuceFutures.awaitAll(Duration.ofSeconds(60), views.toArray(RedisFuture[]::new)));
      for (int n = 0; n < 500; ++n) {
        assertEquals(String.valueOf(n), values.get(n).get());
        assertEquals("1", views.get(n).get());
      }
    }
  }

  @ParameterizedTest
  @EnumSource
  void transactionsAndWatch(ProtocolVersion protocol) {
    RedisCommands<String, String> redis = connect(protocol, "checkout");
    redis.set("n", "1");
    redis.multi();
    redis.incr("n");
    redis.get("n");
    TransactionResult done = redis.exec();
    assertEquals(List.<Object>of(2L, "2"), done.stream().toList());
    redis.watch("n");
    connect(protocol, "checkout").set("n", "10");
    redis.multi();
    redis.incr("n");
    assertTrue(redis.exec().wasDiscarded());
    assertEquals("10", redis.get("n"));
  }

  @ParameterizedTest
  @EnumSource
  void aBlockingCommandWaitsAndHoldsUpNobody(ProtocolVersion protocol) throws Exception {
    RedisClient client = client(protocol, uri("checkout"));
    RedisCommands<String, String> redis = client.connect().sync();
    redis.del("queue");
    RedisFuture<KeyValue<String, String>> popped = client.connect().async().blpop(30, "queue");
    for (int n = 0; n < 100; ++n) {
      redis.set("k", "v");
    }
    redis.rpush("queue", "job");
    assertEquals(KeyValue.just("queue", "job"), popped.get(30, TimeUnit.SECONDS));
    assertNull(redis.blpop(0.1, "queue"));
  }

  @ParameterizedTest
  @EnumSource
  void publishAndSubscribe(ProtocolVersion protocol) throws Exception {
    RedisClient client = client(protocol, uri("checkout"));
    try (StatefulRedisPubSubConnection<String, String> connection = client.connectPubSub()) {
      BlockingQueue<String> heard = new LinkedBlockingQueue<>();
      connection.addListener(new RedisPubSubAdapter<>() {
        @Override
        public void message(String channel, String message) {
          heard.add(channel + " " + message);
        }

        @Override
        public void message(String pattern, String channel, String message) {
          heard.add(pattern + " " + channel + " " + message);
        }
      });
      connection.sync().subscribe("news");
      connection.sync().psubscribe("ne*");
      assertEquals(2, client.connect().sync().publish("news", "hello"));
      assertEquals("news hello", heard.poll(30, TimeUnit.SECONDS));
      assertEquals("ne* news hello", heard.poll(30, TimeUnit.SECONDS));
      connection.sync().unsubscribe("news");
      connection.sync().punsubscribe("ne*");
      assertEquals("PONG", connection.sync().ping());
    }
  }

  @ParameterizedTest
  @EnumSource
  void scriptsWhereTheyAreGranted(ProtocolVersion protocol) {
    RedisCommands<String, String> redis = connect(protocol, "checkout");
    redis.set("scripted", "5");
    String[] keys = {"scripted"};
    assertEquals("5", redis.<String>eval("return redis.call('get', KEYS[1])", ScriptOutputType.VALUE, keys));
    String hash = redis.scriptLoad("return redis.call('get', KEYS[1])");
    assertEquals("5", redis.<String>evalsha(hash, ScriptOutputType.VALUE, keys));
    RedisCommands<String, String> storefront = connect(protocol, "storefront");
    refused(() -> storefront.eval("return 1", ScriptOutputType.INTEGER));
    refused(() -> storefront.evalsha(hash, ScriptOutputType.VALUE));
    refused(() -> storefront.scriptLoad("return 1"));
  }

  @ParameterizedTest
  @EnumSource
  void scan(ProtocolVersion protocol) {
    RedisCommands<String, String> redis = connect(protocol, "checkout");
    for (int n = 0; n < 300; ++n) {
      redis.set("scanned:" + n, "v");
    }
    Set<String> found = new HashSet<>();
    ScanArgs wanted = ScanArgs.Builder.matches("scanned:*").limit(50);
    KeyScanCursor<String> some = redis.scan(wanted);
    found.addAll(some.getKeys());
    while (!some.isFinished()) {
      some = redis.scan(some, wanted);
      found.addAll(some.getKeys());
    }
    assertEquals(300, found.size());
    refused(() -> connect(protocol, "storefront").scan());
  }

  @ParameterizedTest
  @EnumSource
  @SuppressWarnings("unchecked") // Lettuce takes a list of streams as variable arguments of a generic type.
  void streamsAndTheirGroups(ProtocolVersion protocol) throws Exception {
    RedisClient client = client(protocol, uri("checkout"));
    RedisCommands<String, String> redis = client.connect().sync();
    redis.del("stream");
    redis.xgroupCreate(XReadArgs.StreamOffset.from("stream", "0-0"), "workers", XGroupCreateArgs.Builder.mkstream());
    RedisFuture<List<StreamMessage<String, String>>> asked = client.connect().async().xreadgroup(
        Consumer.from("workers", "first"), XReadArgs.Builder.block(Duration.ofSeconds(30)),
        XReadArgs.StreamOffset.lastConsumed("stream"));
    String id = redis.xadd("stream", Map.of("sku", "sku-1"));
    StreamMessage<String, String> entry = asked.get(30, TimeUnit.SECONDS).get(0);
    assertEquals(id, entry.getId());
    assertEquals(Map.of("sku", "sku-1"), entry.getBody());
    assertEquals(1, redis.xpending("stream", "workers").getCount());
    assertEquals(1, redis.xack("stream", "workers", id));
    assertEquals(1, redis.xlen("stream"));
  }

  @ParameterizedTest
  @EnumSource
  void whoIsRefusedSomethingGoesOn(ProtocolVersion protocol) {
    RedisCommands<String, String> redis = connect(protocol, "storefront");
    long id = redis.clientId();
    refused(() -> redis.set("other", "v"));
    refused(() -> redis.get("other"));
    refused(redis::flushall);
    refused(() -> redis.del("order:1"));
    refused(() -> redis.keys("*"));
    refused(() -> redis.configGet("*"));
    redis.set("session:1", "a");
    redis.multi();
    redis.set("session:1", "b");
    redis.set("other", "v");
    assertThrows(RedisException.class, redis::exec);
    assertEquals("a", redis.get("session:1"));
    assertEquals(id, redis.clientId());
    RedisException error =
        assertThrows(RedisException.class, () -> connect(protocol, "checkout").set("order:1", "v"));
    assertTrue(error.getMessage().contains("view of table"), error.getMessage());
  }

  @ParameterizedTest
  @EnumSource
  void theUserNameSaysWhichRole(ProtocolVersion protocol) {
    String token = RunningNode.token("clerk");
    assertEquals("OK", client(protocol, uri("checkout", token)).connect().sync().set("other", "v"));
    RedisCommands<String, String> storefront = client(protocol, uri("storefront", token)).connect().sync();
    refused(() -> storefront.set("other", "v"));
  }

  /** What is asked for while Lettuce connects anew waits for it; no call fails. */
  @ParameterizedTest
  @EnumSource
  void aFreshTokenComesWithTheNextConnection(ProtocolVersion protocol) throws Exception {
    RedisTokens.Provider tokens = new RedisTokens.Provider();
    RedisURI.Builder uri = uri("storefront").withAuthentication(
        RedisCredentialsProvider.from(() -> RedisCredentials.just("default", tokens.token())));
    RedisCommands<String, String> redis = client(protocol, uri).connect().sync();
    long first = redis.clientId();
    tokens.life = "10m";
    long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
    while (redis.clientId() == first && System.nanoTime() < until) {
      assertEquals("8", redis.hget("order:8", "id"));
      TimeUnit.MILLISECONDS.sleep(20);
    }
    assertNotEquals(first, redis.clientId());
  }

  /** Gives a first token, and others as they are told to it. */
  private static final class Streaming implements RedisCredentialsProvider {
    private final Sinks.Many<RedisCredentials> tokens = Sinks.many().replay().latest();

    void give(String token) {
      tokens.tryEmitNext(RedisCredentials.just("default", token)).orThrow();
    }

    @Override
    public Mono<RedisCredentials> resolveCredentials() {
      return tokens.asFlux().next();
    }

    @Override
    public boolean supportsStreaming() {
      return true;
    }

    @Override
    public Flux<RedisCredentials> credentials() {
      return tokens.asFlux();
    }
  }

  @ParameterizedTest
  @EnumSource
  void aFreshTokenBeforeTheOldOneEndsLeavesTheConnection(ProtocolVersion protocol) throws Exception {
    Streaming tokens = new Streaming();
    tokens.give(RedisTokens.fresh("storefront", "4s"));
    RedisCommands<String, String> redis = client(uri("storefront").withAuthentication(tokens),
        ClientOptions.builder().protocolVersion(protocol)
            .reauthenticateBehavior(ClientOptions.ReauthenticateBehavior.ON_NEW_CREDENTIALS)).connect().sync();
    long id = redis.clientId();
    tokens.give(RunningNode.token("storefront"));
    long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(6);
    while (System.nanoTime() < until) {
      assertEquals("8", redis.hget("order:8", "id"));
      TimeUnit.MILLISECONDS.sleep(50);
    }
    assertEquals(id, redis.clientId());
  }

  @ParameterizedTest
  @EnumSource
  void aSubscriptionComesBackWithAFreshToken(ProtocolVersion protocol) throws Exception {
    BlockingQueue<String> heard = new LinkedBlockingQueue<>();
    RedisTokens.Provider tokens = new RedisTokens.Provider();
    String channel = "session:" + protocol;
    RedisURI.Builder uri = uri("storefront").withAuthentication(
        RedisCredentialsProvider.from(() -> RedisCredentials.just("default", tokens.token())));
    RedisCommands<String, String> publisher = connect(protocol, "checkout");
    try (StatefulRedisPubSubConnection<String, String> connection = client(protocol, uri).connectPubSub()) {
      connection.addListener(new RedisPubSubAdapter<>() {
        @Override
        public void message(String from, String message) {
          heard.add(message);
        }
      });
      connection.sync().subscribe(channel);
      publisher.publish(channel, "before");
      assertEquals("before", heard.poll(30, TimeUnit.SECONDS));
      tokens.life = "10m";
      int given = tokens.given.get();
      long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
      while (tokens.given.get() == given && System.nanoTime() < until) {
        TimeUnit.MILLISECONDS.sleep(50);
      }
      while (publisher.publish(channel, "after") != 1 && System.nanoTime() < until) {
        TimeUnit.MILLISECONDS.sleep(50);
      }
      assertEquals("after", heard.poll(30, TimeUnit.SECONDS));
      assertNotEquals(given, tokens.given.get());
    }
  }

  @ParameterizedTest
  @EnumSource
  void largeValues(ProtocolVersion protocol) {
    RedisCommands<String, String> redis = connect(protocol, "checkout");
    String value = "v".repeat(20_000_000);
    redis.set("large", value);
    assertTrue(value.equals(redis.get("large")));
  }

  @ParameterizedTest
  @EnumSource
  void badTokensAreRefusedWithTheRule(ProtocolVersion protocol) {
    RedisTokens.bad().forEach((kind, entry) -> {
      RedisException error = assertThrows(RedisException.class,
          () -> client(protocol, uri("default", entry.getKey())).connect());
      StringBuilder said = new StringBuilder();
      for (Throwable cause = error; cause != null; cause = cause.getCause()) {
        said.append(cause.getMessage()).append('\n');
      }
      assertTrue(entry.getValue().matcher(said).find(), kind + ": " + said);
    });
  }

  @Test
  void withoutATokenNothingIsAnswered() {
    RedisURI.Builder uri = RedisURI.builder().withHost("127.0.0.1").withPort(RunningNode.redisPort());
    RedisException error = assertThrows(RedisException.class,
        () -> client(ProtocolVersion.RESP2, uri).connect().sync().get("order:1"));
    assertTrue(String.valueOf(error.getCause()).contains("NOAUTH") || error.getMessage().contains("NOAUTH"),
        error.toString());
  }

  @ParameterizedTest
  @EnumSource
  void tls(ProtocolVersion protocol) throws Exception {
    ClientOptions.Builder options = ClientOptions.builder().protocolVersion(protocol)
        .sslOptions(SslOptions.builder().trustManager(new File(RunningNode.env("NODE_CA"))).build());
    assertEquals("1", client(uri("storefront").withSsl(true), options).connect().sync().hget("order:1", "id"));
    assertThrows(RedisException.class, () -> client(protocol, uri("storefront").withSsl(true)).connect());
  }
}
