// ioredis through the redis door; rows are written with node-postgres.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { once } from "node:events";
import { after, test } from "node:test";

import { badTokens, ca, load, postgresOptions, redisOptions } from "./packages.mjs";

const Redis = load("ioredis");
const pg = load("pg");
const clients = [];

function connect(subject = "checkout", options = {}) {
  const client = new Redis({ ...redisOptions(subject), ...options });
  clients.push(client);
  return client;
}

after(() => clients.forEach((client) => client.disconnect()));

test("views answer like strings and hashes, and show at once what was written", async () => {
  const sql = new pg.Client(postgresOptions());
  await sql.connect();
  const redis = connect("storefront");
  assert.equal(JSON.parse(await redis.get("order:8")).id, 8);
  assert.equal((await redis.hgetall("order:8")).status, "open");
  assert.deepEqual(await redis.hmget("order:8", "id", "nothing"), ["8", null]);
  assert.deepEqual((await redis.mget("order:8", "order:99999")).map((value) => value === null), [false, true]);
  assert.equal(await redis.exists("order:8", "order:99999"), 1);
  assert.equal(await redis.type("order:8"), "string");
  assert.equal(await redis.ttl("order:8"), -1);
  for (let revision = 1; revision <= 50; ++revision) {
    await sql.query("UPDATE orders SET revision = $1 WHERE id = 8", [revision]);
    assert.equal(await redis.hget("order:8", "revision"), String(revision));
  }
  await sql.end();
});

test("keys, expiry, pipelines and transactions", async () => {
  const redis = connect();
  assert.equal(await redis.set("a", "1", "EX", 60), "OK");
  assert.ok((await redis.ttl("a")) > 0);
  const pipeline = redis.pipeline();
  for (let n = 0; n < 500; ++n) pipeline.set(`p:${n}`, n).get(`p:${n}`).hget("order:1", "id");
  const said = await pipeline.exec();
  assert.ok(said.every(([error]) => error === null));
  assert.deepEqual(said.filter((_, at) => at % 3 === 1).map(([, value]) => value),
                   Array.from({ length: 500 }, (_, n) => String(n)));
  assert.deepEqual(await redis.multi().incr("a").get("a").exec(), [[null, 2], [null, "2"]]);
  await redis.watch("a");
  await connect().set("a", "9");
  assert.equal(await redis.multi().incr("a").exec(), null);
  assert.equal(await redis.eval("return redis.call('get', KEYS[1])", 1, "a"), "9");
});

test("a blocking pop, publish and subscribe, scan", async () => {
  const redis = connect();
  const popped = connect().blpop("queue", 30);
  await redis.rpush("queue", "job");
  assert.deepEqual(await popped, ["queue", "job"]);
  const subscriber = connect();
  await subscriber.subscribe("news");
  await subscriber.psubscribe("ne*");
  const heard = Promise.all([once(subscriber, "message"), once(subscriber, "pmessage")]);
  assert.equal(await redis.publish("news", "hello"), 2);
  assert.deepEqual(await heard, [["news", "hello"], ["ne*", "news", "hello"]]);
  await redis.mset(Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`scanned:${n}`, n])));
  const found = new Set();
  for await (const keys of redis.scanStream({ match: "scanned:*" })) keys.forEach((key) => found.add(key));
  assert.equal(found.size, 100);
});

test("what a role may not do is refused", async () => {
  const redis = connect("storefront");
  assert.equal(await redis.set("session:1", "v", "EX", 60), "OK");
  for (const refused of [() => redis.set("other", "v"), () => redis.get("other"), () => redis.flushall(),
                         () => redis.del("order:1"), () => redis.scan(0)]) {
    await assert.rejects(refused(), /^ReplyError: NOPERM/);
  }
  await assert.rejects(connect().set("order:1", "v"), /view of table/);
});

test("large values", async () => {
  const value = "v".repeat(10_000_000);
  await connect().set("large", value);
  assert.ok((await connect().get("large")) === value);
});

test("TLS", async () => {
  const redis = connect("checkout", { tls: { ca: readFileSync(ca, "utf8") } });
  assert.equal(await redis.hget("order:1", "id"), "1");
});

for (const [kind, [bad, rule]] of badTokens) {
  test(`a bad token is refused: ${kind}`, async () => {
    const redis = connect("checkout", { password: bad, lazyConnect: true, retryStrategy: () => null });
    const complaint = once(redis, "error");
    await redis.connect().catch(() => {});
    assert.match((await complaint)[0].message, new RegExp(rule));
  });
}
