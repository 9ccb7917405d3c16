// postgres.js through the postgres door.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { once } from "node:events";
import { pipeline } from "node:stream/promises";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";

import { badTokens, ca, failures, large, load, postgresOptions, token } from "./packages.mjs";

const postgres = load("postgres");

async function withSql(use, options = {}) {
  const { host, port, database, user, password } = postgresOptions();
  const sql = postgres({ host, port, database, user, password, max: 1, onnotice: () => {}, ...options });
  try {
    return await use(sql);
  } finally {
    await sql.end();
  }
}

// With statements prepared by name, and without.
for (const prepare of [true, false]) {
  test(`rows are made, read, changed and removed; prepare: ${prepare}`, () =>
    withSql(async (sql) => {
      const id = prepare ? 4501 : 4502;
      await sql`INSERT INTO orders ${sql({ id, customer_id: 1 })}`;
      assert.deepEqual([...(await sql`SELECT id, status FROM orders WHERE id = ${id}`)], [{ id: `${id}`, status: "open" }]);
      assert.equal((await sql`UPDATE orders SET status = ${"paid"} WHERE id = ${id}`).count, 1);
      assert.equal((await sql`DELETE FROM orders WHERE id = ${id} RETURNING status`)[0].status, "paid");
    }, { prepare }));

  test(`errors in and outside of transactions; prepare: ${prepare}`, () =>
    withSql(async (sql) => {
      for (const [text, code] of failures) {
        await assert.rejects(sql.unsafe(text, [], { prepare }), { code });
        await assert.rejects(sql.unsafe(text), { code });
        // The first error of a transaction is the one that it ends with.
        await assert.rejects(sql.begin(async (inner) => {
          await assert.rejects(inner.unsafe(text, [], { prepare }), { code });
          await assert.rejects(inner`SELECT 1`, { code: "25P02" });
        }), { code });
        assert.equal((await sql`SELECT ${7}::int AS n`)[0].n, 7);
      }
    }, { prepare }));

  test(`parameters and large values; prepare: ${prepare}`, () =>
    withSql(async (sql) => {
      // The most that postgres.js allows.
      const many = Array.from({ length: 65_533 }, (_, n) => n);
      const text = `SELECT sum(n)::int8 AS n FROM (VALUES ${many.map((n) => `($${n + 1}::int)`).join(",")}) v (n)`;
      assert.equal((await sql.unsafe(text, many, { prepare }))[0].n, `${(65_532 * 65_533) / 2}`);
      const value = large();
      const [found] = await sql`SELECT ${value}::bytea AS v`;
      assert.ok(found.v.equals(value));
      const [{ n }] = await sql`SELECT length(${"ü".repeat(50_000_000)}) AS n`;
      assert.equal(n, 50_000_000);
    }, { prepare }));
}

test("transactions and savepoints", () =>
  withSql(async (sql) => {
    await sql`CREATE TEMP TABLE steps (n int)`;
    await sql.begin("ISOLATION LEVEL SERIALIZABLE", async (outer) => {
      await outer`INSERT INTO steps VALUES (1)`;
      await assert.rejects(outer.savepoint(async (inner) => {
        await inner`INSERT INTO steps VALUES (2)`;
        await inner`SELECT 1 / 0`;
      }), { code: "22012" });
      await outer`INSERT INTO steps VALUES (3)`;
    });
    await assert.rejects(sql.begin(async (outer) => {
      await outer`DELETE FROM steps`;
      throw new Error("the client changes its mind");
    }), /changes its mind/);
    assert.deepEqual((await sql`SELECT n FROM steps ORDER BY n`).map((row) => row.n), [1, 3]);
    // Statements of one transaction, sent without waiting.
    const answers = await sql.begin((inner) => [inner`SELECT 1 AS n`, inner`SELECT 2 AS n`, inner`SELECT 3 AS n`]);
    assert.deepEqual(answers.map((answer) => answer[0].n), [1, 2, 3]);
  }));

test("many rows, by parts and at once, and queries in flight", () =>
  withSql(async (sql) => {
    let sum = 0;
    await sql`SELECT generate_series(1, 300000) AS n`.forEach((row) => { sum += row.n; });
    assert.equal(sum, (300_000 * 300_001) / 2);
    let count = 0;
    for await (const rows of sql`SELECT generate_series(1, 10000) AS n`.cursor(999)) count += rows.length;
    assert.equal(count, 10_000);
    for await (const [row] of sql`SELECT generate_series(1, 10000) AS n`.cursor()) if (row.n === 3) break;
    const answers = await Promise.all(Array.from({ length: 5_000 }, (_, n) => sql`SELECT ${n}::int * 2 AS n`));
    assert.ok(answers.every(([row], n) => row.n === 2 * n));
    const some = await Promise.allSettled(Array.from({ length: 200 }, (_, n) => sql`SELECT 1 / (${n}::int - 100) AS n`));
    assert.deepEqual(some.filter((one) => one.status === "rejected").map((one) => one.reason.code), ["22012"]);
    assert.equal((await sql`SELECT 1 AS n; SELECT 2 AS n`.simple()).length, 2);
  }));

test("COPY goes both ways", () =>
  withSql(async (sql) => {
    await sql`CREATE TEMP TABLE copied (id int, name text)`;
    const rows = Array.from({ length: 50_000 }, (_, n) => `${n}\tname ${n}\n`);
    await pipeline(Readable.from(rows), await sql`COPY copied FROM STDIN`.writable());
    // No more than a stream's buffer: beyond that postgres.js may wait for ever, also without a door.
    let text = "";
    for await (const part of await sql`COPY (SELECT * FROM copied ORDER BY id LIMIT 500) TO STDOUT`.readable()) text += part;
    assert.ok(text === rows.slice(0, 500).join(""));
    assert.equal((await sql`SELECT count(*)::int AS n FROM copied`)[0].n, 50_000);
  }));

// With a stream that is left open, and no copy before it: otherwise postgres.js may wait for ever, also without a door.
test("a COPY that fails leaves the connection usable", () =>
  withSql(async (sql) => {
    await sql`CREATE TEMP TABLE copied (id int, name text)`;
    const stream = await sql`COPY copied FROM STDIN`.writable();
    const refused = once(stream, "error");
    stream.write("no number\tx\n");
    assert.equal((await refused)[0].code, "22P02");
    assert.equal((await sql`SELECT count(*)::int AS n FROM copied`)[0].n, 0);
  }));

test("notifications", () =>
  withSql(async (sql) => {
    const heard = [];
    let all;
    const done = new Promise((resolve) => { all = resolve; });
    const { unlisten } = await sql.listen("news of postgres.js", (payload) => {
      if (heard.push(payload) === 3) all();
    });
    for (const payload of ["a", "b", "c"]) await sql.notify("news of postgres.js", payload);
    await done;
    assert.deepEqual(heard, ["a", "b", "c"]);
    await unlisten();
  }));

test("cancel", () =>
  withSql(async (sql) => {
    const query = sql`SELECT pg_sleep(60)`.execute();
    const refused = assert.rejects(query, { code: "57014" });
    await sleep(500);
    query.cancel();
    await refused;
    assert.equal((await sql`SELECT 1 AS n`)[0].n, 1);
  }));

test("a pool, TLS, and settings of the session", () =>
  withSql(async (sql) => {
    const answers = await Promise.all(Array.from({ length: 500 }, (_, n) => sql`SELECT ${n}::int AS n`));
    assert.ok(answers.every(([row], n) => row.n === n));
    const [told] = await sql`SELECT current_setting('search_path') AS path, current_user AS who`;
    assert.deepEqual({ ...told }, { path: "public, pg_temp", who: "storefront" });
  }, {
    max: 16, host: "localhost", user: "storefront", password: () => token("clerk"),
    ssl: { ca: readFileSync(ca, "utf8") }, connection: { search_path: "public, pg_temp" },
  }));

for (const [kind, [bad, rule]] of badTokens) {
  test(`a bad token is refused: ${kind}`, () =>
    assert.rejects(withSql((sql) => sql`SELECT 1`, { password: bad }), (error) => {
      assert.equal(error.code, "28000");
      assert.match(error.message, new RegExp(rule));
      return true;
    }));
}
