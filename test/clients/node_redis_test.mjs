// node-redis through the redis door, in RESP2 and RESP3; rows are written with node-postgres.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";

import { badTokens, ca, freshToken, load, postgresOptions, redisOptions } from "./packages.mjs";

const { createClient, ErrorReply, RESP_TYPES, WatchError } = load("redis");
const pg = load("pg");
const clients = [];
const protocols = [2, 3];

async function connect({ protocol = 3, subject = "checkout", socket = {}, ...options } = {}) {
  const { host, port, username, password } = redisOptions(subject);
  const client = createClient({ RESP: protocol, username, password, socket: { host, port, ...socket }, ...options });
  client.errors = [];
  client.on("error", (error) => client.errors.push(error.message));
  clients.push(client);
  return client.connect();
}

after(() => clients.forEach((client) => client.isOpen && client.destroy()));

const refusal = (pattern) => (error) => error instanceof ErrorReply && pattern.test(error.message);

for (const protocol of protocols) {
  test(`RESP${protocol}: views answer like strings and hashes`, async () => {
    const redis = await connect({ protocol, subject: "storefront" });
    assert.equal(JSON.parse(await redis.get("order:8")).id, 8);
    const row = await redis.hGetAll("order:8");
    assert.deepEqual([row.id, row.status], ["8", "open"]);
    assert.deepEqual(await redis.hmGet("order:8", ["id", "nothing"]), ["8", null]);
    assert.deepEqual((await redis.mGet(["order:8", "order:99999", "product:sku-1"])).map((value) => value === null),
                     [false, true, false]);
    assert.equal(await redis.exists(["order:8", "order:99999"]), 1);
    assert.equal(await redis.type("order:8"), "string");
    assert.equal(await redis.ttl("order:8"), -1);
    assert.equal(await redis.get("order:99999"), null);
    const bytes = await redis.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer }).get("order:8");
    assert.ok(Buffer.isBuffer(bytes));
    assert.equal(bytes.length, await redis.strLen("order:8"));
  });

  test(`RESP${protocol}: a row is read as it was just written`, async () => {
    const id = 4000 + protocol;
    const sql = new pg.Client(postgresOptions());
    await sql.connect();
    const redis = await connect({ protocol, subject: "storefront" });
    assert.equal(await redis.get(`order:${id}`), null);
    await sql.query("INSERT INTO orders (id, customer_id) VALUES ($1, 1)", [id]);
    for (let revision = 1; revision <= 50; ++revision) {
      await sql.query("UPDATE orders SET revision = $1 WHERE id = $2", [revision, id]);
      const [row, many] = await Promise.all([redis.get(`order:${id}`), redis.mGet([`order:${id}`, "order:1"])]);
      assert.equal(JSON.parse(row).revision, revision);
      assert.equal(JSON.parse(many[0]).revision, revision);
    }
    await sql.query("DELETE FROM orders WHERE id = $1", [id]);
    assert.equal(await redis.exists(`order:${id}`), 0);
    await sql.end();
  });

  test(`RESP${protocol}: what is asked for at once is answered in order`, async () => {
    const redis = await connect({ protocol });
    // Without waiting, node-redis sends all of it as one pipeline.
    const said = await Promise.all(Array.from({ length: 500 }, (_, n) => [
      redis.set(`p:${n}`, String(n)), redis.get(`p:${n}`), redis.hGet("order:1", "id"),
    ]).flat());
    assert.deepEqual(said.filter((_, at) => at % 3 === 1), Array.from({ length: 500 }, (_, n) => String(n)));
    assert.deepEqual(new Set(said.filter((_, at) => at % 3 === 2)), new Set(["1"]));
    assert.deepEqual(await redis.multi().set("p:a", "1").incr("p:a").execAsPipeline(), ["OK", 2]);
  });

  test(`RESP${protocol}: transactions and watch`, async () => {
    const redis = await connect({ protocol });
    await redis.set("n", "1");
    assert.deepEqual(await redis.multi().incr("n").get("n").exec(), [2, "2"]);
    await redis.watch("n");
    await (await connect()).set("n", "10");
    await assert.rejects(redis.multi().incr("n").exec(), WatchError);
    assert.equal(await redis.get("n"), "10");
    // What Redis refuses inside of a transaction does not take the connection with it.
    await redis.set("text", "abc");
    await assert.rejects(redis.multi().incr("text").exec());
    assert.equal(await redis.get("text"), "abc");
  });

  test(`RESP${protocol}: a blocking command waits and holds up nobody`, async () => {
    const waiting = await connect({ protocol });
    const redis = await connect({ protocol });
    await redis.del("queue");
    const popped = waiting.blPop("queue", 30);
    for (let n = 0; n < 100; ++n) await redis.set("k", "v");
    await redis.rPush("queue", "job");
    assert.deepEqual({ ...(await popped) }, { key: "queue", element: "job" });
    assert.equal(await waiting.blPop("queue", 0.1), null);
    assert.equal(await waiting.get("k"), "v");
  });

  test(`RESP${protocol}: publish and subscribe`, async () => {
    const subscriber = await connect({ protocol });
    const heard = [];
    const all = new Promise((done) => {
      const hear = (message, channel) => heard.push([channel, message]) === 2 && done();
      subscriber.subscribe("news", hear).then(() => subscriber.pSubscribe("ne*", hear)).then(async () => {
        assert.equal(await (await connect()).publish("news", "hello"), 2);
      });
    });
    await all;
    assert.deepEqual(heard, [["news", "hello"], ["news", "hello"]]);
    await subscriber.unsubscribe("news");
    await subscriber.pUnsubscribe("ne*");
    await subscriber.set("after", "1");
    // Once it has been subscribed, node-redis gives buffers for texts in RESP2.
    assert.equal(String(await subscriber.get("after")), "1");
  });

  test(`RESP${protocol}: scripts where they are granted`, async () => {
    const redis = await connect({ protocol });
    await redis.set("scripted", "5");
    assert.equal(await redis.eval("return redis.call('get', KEYS[1])", { keys: ["scripted"] }), "5");
    const sha = await redis.scriptLoad("return ARGV[1]");
    assert.equal(await redis.evalSha(sha, { arguments: ["said"] }), "said");
    await assert.rejects(redis.evalSha("0".repeat(40)), /NOSCRIPT/);
    const storefront = await connect({ protocol, subject: "storefront" });
    for (const refused of [() => storefront.eval("return 1"), () => storefront.evalSha(sha),
                           () => storefront.scriptLoad("return 1")]) {
      await assert.rejects(refused(), refusal(/^NOPERM role storefront may not run/));
    }
  });

  test(`RESP${protocol}: scan`, async () => {
    const redis = await connect({ protocol });
    await redis.mSet(Object.fromEntries(Array.from({ length: 300 }, (_, n) => [`scanned:${n}`, String(n)])));
    const found = new Set();
    for await (const keys of redis.scanIterator({ MATCH: "scanned:*", COUNT: 50 })) keys.forEach((key) => found.add(key));
    assert.equal(found.size, 300);
    const storefront = await connect({ protocol, subject: "storefront" });
    await assert.rejects(storefront.scan("0"), refusal(/^NOPERM role storefront may not run "?scan/));
  });

  test(`RESP${protocol}: streams and their groups`, async () => {
    const redis = await connect({ protocol });
    const reader = await connect({ protocol });
    const key = `stream:${protocol}`;
    await redis.del(key);
    await redis.xGroupCreate(key, "workers", "0", { MKSTREAM: true });
    const asked = reader.xReadGroup("workers", "first", { key, id: ">" }, { BLOCK: 30_000, COUNT: 10 });
    const id = await redis.xAdd(key, "*", { sku: "sku-1", count: "2" });
    const said = await asked;
    if (protocol === 2) {
      assert.equal(said[0].name, key);
      assert.deepEqual(said[0].messages.map((entry) => [entry.id, { ...entry.message }]),
                       [[id, { sku: "sku-1", count: "2" }]]);
    } else {
      // node-redis leaves this reply as it came.
      assert.deepEqual({ ...said }, { [key]: [[id, ["sku", "sku-1", "count", "2"]]] });
    }
    assert.equal((await redis.xPending(key, "workers")).pending, 1);
    assert.equal(await reader.xAck(key, "workers", id), 1);
    assert.equal((await redis.xPending(key, "workers")).pending, 0);
    assert.equal(await redis.xLen(key), 1);
    assert.equal((await redis.xRange(key, "-", "+")).length, 1);
  });

  test(`RESP${protocol}: who is refused something goes on`, async () => {
    const redis = await connect({ protocol, subject: "storefront" });
    const id = await redis.clientId();
    for (const refused of [() => redis.set("other", "v"), () => redis.get("other"), () => redis.flushAll(),
                           () => redis.del("order:1"), () => redis.keys("*"), () => redis.configGet("*")]) {
      await assert.rejects(refused(), refusal(/^NOPERM role storefront may not/));
    }
    // In the middle of a pipeline, and of a transaction.
    const said = await Promise.allSettled([redis.set("session:1", "a"), redis.get("other"), redis.get("session:1")]);
    assert.deepEqual(said.map(({ status, value }) => value ?? status), ["OK", "rejected", "a"]);
    await assert.rejects(redis.multi().set("session:1", "b").set("other", "v").exec(), /EXECABORT|NOPERM|refused/i);
    assert.equal(await redis.get("session:1"), "a");
    assert.equal(await redis.clientId(), id);
    assert.deepEqual(redis.errors, []);
    await assert.rejects((await connect({ protocol })).set("order:1", "v"), /view of table/);
  });

  test(`RESP${protocol}: a fresh token comes with the next connection`, async () => {
    let given = 0;
    const redis = await connect({
      protocol,
      credentialsProvider: {
        type: "async-credentials-provider",
        credentials: async () => {
          ++given;
          return { username: "default", password: await freshToken("storefront", given === 1 ? "3s" : "10m") };
        },
      },
    });
    const first = await redis.clientId();
    assert.equal(await redis.hGet("order:8", "id"), "8");
    await new Promise((done) => redis.once("ready", done));
    assert.equal(await redis.hGet("order:8", "id"), "8");
    assert.notEqual(await redis.clientId(), first);
    assert.equal(given, 2);
  });

  test(`RESP${protocol}: a fresh token before the old one ends leaves the connection`, async () => {
    let listener;
    const credentials = async (life) => ({ username: "default", password: await freshToken("storefront", life) });
    const redis = await connect({
      protocol,
      credentialsProvider: {
        type: "streaming-credentials-provider",
        subscribe: async (given) => {
          listener = given;
          return [await credentials("4s"), { dispose() {} }];
        },
        onReAuthenticationError: (error) => assert.fail(error),
      },
    });
    const first = await redis.clientId();
    listener.onNext(await credentials("10m"));
    const until = Date.now() + 7_000;
    while (Date.now() < until) {
      assert.equal(await redis.hGet("order:8", "id"), "8");
      await new Promise((done) => setTimeout(done, 100));
    }
    assert.equal(await redis.clientId(), first);
    assert.deepEqual(redis.errors, []);
  });

  test(`RESP${protocol}: large values`, async () => {
    const redis = await connect({ protocol });
    const value = "v".repeat(10_000_000);
    await redis.set("large", value);
    assert.ok((await redis.get("large")) === value);
  });
}

test("the user name says which role", async () => {
  for (const role of ["checkout", "storefront"]) {
    const redis = await connect({ subject: "clerk", username: role });
    if (role === "checkout") {
      assert.equal(await redis.set("other", "v"), "OK");
    } else {
      await assert.rejects(redis.set("other", "v"), refusal(/^NOPERM role storefront/));
    }
  }
});

test("the client's own cache hears of changes to keys of Redis", async () => {
  const redis = await connect({ clientSideCache: { ttl: 0, maxEntries: 0, evictPolicy: "LRU" } });
  const other = await connect();
  await other.set("cached", "1");
  assert.equal(await redis.get("cached"), "1");
  assert.equal(await redis.get("cached"), "1");
  await other.set("cached", "2");
  const until = Date.now() + 30_000;
  while ((await redis.get("cached")) !== "2" && Date.now() < until) await new Promise((done) => setTimeout(done, 20));
  assert.equal(await redis.get("cached"), "2");
});

test("a pool of connections", async () => {
  const { createClientPool } = load("redis");
  const { host, port, username, password } = redisOptions("checkout");
  const pool = createClientPool({ RESP: 3, username, password, socket: { host, port } },
                                { minimum: 2, maximum: 8 });
  await pool.connect();
  const said = await Promise.all(Array.from({ length: 200 }, (_, n) => pool.get(`order:${1 + n % 50}`)));
  said.forEach((row, n) => assert.equal(JSON.parse(row).id, 1 + n % 50));
  await pool.close();
});

test("TLS", async () => {
  const redis = await connect({ socket: { tls: true, ca: readFileSync(ca, "utf8") } });
  assert.equal(await redis.hGet("order:1", "id"), "1");
});

for (const [kind, [bad, rule]] of badTokens) {
  for (const protocol of protocols) {
    test(`RESP${protocol}: a bad token is refused: ${kind}`, async () => {
      await assert.rejects(connect({ protocol, password: bad, socket: { reconnectStrategy: false } }),
                           refusal(new RegExp(rule)));
    });
  }
}
