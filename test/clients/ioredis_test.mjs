// ioredis through the redis door; rows are written with node-postgres.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { once } from "node:events";
import { after, test } from "node:test";

import { badTokens, ca, freshToken, load, postgresOptions, redisOptions } from "./packages.mjs";

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

test("scripts where they are granted", async () => {
  const redis = connect();
  redis.defineCommand("readOne", { numberOfKeys: 1, lua: "return redis.call('get', KEYS[1])" });
  await redis.set("scripted", "5");
  assert.equal(await redis.readOne("scripted"), "5");
  assert.equal(await redis.readOne("scripted"), "5");
  const storefront = connect("storefront");
  for (const refused of [() => storefront.eval("return 1", 0), () => storefront.evalsha("0".repeat(40), 0),
                         () => storefront.script("LOAD", "return 1")]) {
    await assert.rejects(refused(), /^ReplyError: NOPERM role storefront may not run/);
  }
});

test("streams and their groups", async () => {
  const redis = connect();
  await redis.del("stream");
  await redis.xgroup("CREATE", "stream", "workers", "0", "MKSTREAM");
  const asked = connect().xreadgroup("GROUP", "workers", "first", "BLOCK", 30_000, "STREAMS", "stream", ">");
  const id = await redis.xadd("stream", "*", "sku", "sku-1");
  assert.deepEqual(await asked, [["stream", [[id, ["sku", "sku-1"]]]]]);
  assert.equal((await redis.xpending("stream", "workers"))[0], 1);
  assert.equal(await redis.xack("stream", "workers", id), 1);
  assert.deepEqual(await redis.xrange("stream", "-", "+"), [[id, ["sku", "sku-1"]]]);
});

test("who is refused something goes on", async () => {
  const redis = connect("storefront");
  const id = await redis.client("ID");
  await redis.set("session:2", "a");
  const piped = await redis.pipeline().get("session:2").get("other").get("session:2").exec();
  assert.deepEqual(piped.map(([error, value]) => error?.message.split(" ")[0] ?? value), ["a", "NOPERM", "a"]);
  await assert.rejects(redis.multi().set("session:2", "b").set("other", "v").exec(), /EXECABORT/);
  assert.equal(await redis.get("session:2"), "a");
  assert.equal(await redis.client("ID"), id);
});

test("a fresh token comes with the next connection", async () => {
  const redis = connect("storefront", { password: await freshToken("storefront", "3s"), lazyConnect: true });
  redis.on("error", () => {});
  await redis.connect();
  const first = await redis.client("ID");
  redis.options.password = await freshToken("storefront", "10m");
  await new Promise((done) => redis.once("ready", done));
  assert.equal(await redis.hget("order:9", "id"), "9");
  assert.notEqual(await redis.client("ID"), first);
});

test("a fresh token before the old one ends leaves the connection", async () => {
  const redis = connect("storefront", { password: await freshToken("storefront", "4s"), retryStrategy: () => null });
  const first = await redis.client("ID");
  await redis.auth("default", await freshToken("storefront", "10m"));
  await new Promise((done) => setTimeout(done, 7_000));
  assert.equal(await redis.hget("order:9", "id"), "9");
  assert.equal(await redis.client("ID"), first);
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
