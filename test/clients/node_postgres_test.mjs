// node-postgres through the postgres door.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { once } from "node:events";
import { pipeline } from "node:stream/promises";
import { Readable } from "node:stream";
import { test } from "node:test";

import { badTokens, ca, failures, large, load, postgresOptions, token } from "./packages.mjs";

const pg = load("pg");
const copy = load("pg-copy-streams");

async function withClient(use, options = {}) {
  const client = new pg.Client({ ...postgresOptions(), ...options });
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

test("rows are made, read, changed and removed", () =>
  withClient(async (client) => {
    await client.query("INSERT INTO orders (id, customer_id) VALUES ($1, $2)", [4001, 1]);
    const found = await client.query("SELECT id, status FROM orders WHERE id = $1", [4001]);
    assert.deepEqual(found.rows, [{ id: "4001", status: "open" }]);
    const changed = await client.query("UPDATE orders SET status = $2 WHERE id = $1", [4001, "paid"]);
    assert.equal(changed.rowCount, 1);
    assert.equal((await client.query("DELETE FROM orders WHERE id = 4001")).rowCount, 1);
  }));

test("a transaction is rolled back after an error", () =>
  withClient(async (client) => {
    await client.query("BEGIN");
    await client.query("INSERT INTO orders (id, customer_id) VALUES (4002, 1)");
    await assert.rejects(client.query("SELECT 1 / 0"), { code: "22012" });
    await assert.rejects(client.query("SELECT 1"), { code: "25P02" });
    await client.query("ROLLBACK");
    assert.equal((await client.query("SELECT * FROM orders WHERE id = 4002")).rowCount, 0);
    await assert.rejects(client.query("SELECT * FROM nothing"), { code: "42P01" });
  }));

test("every failure has its code", () =>
  withClient(async (client) => {
    for (const [text, code] of failures) {
      await assert.rejects(client.query(text), { code });
      await assert.rejects(client.query({ text, queryMode: "extended" }), { code });
      await client.query("BEGIN");
      await assert.rejects(client.query(text), { code });
      await assert.rejects(client.query("SELECT 1"), { code: "25P02" });
      await client.query("ROLLBACK");
      assert.equal((await client.query("SELECT $1::int AS n", [7])).rows[0].n, 7);
    }
  }));

test("many rows", () =>
  withClient(async (client) => {
    const found = await client.query("SELECT generate_series(1, 300000) AS n");
    assert.equal(found.rows.reduce((sum, row) => sum + row.n, 0), (300000 * 300001) / 2);
  }));

test("prepared statements, queued queries and many parameters", () =>
  withClient(async (client) => {
    const named = { name: "double", text: "SELECT $1::int * 2 AS n" };
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, n) => client.query({ ...named, values: [n] })));
    assert.deepEqual(answers.map((answer) => answer.rows[0].n), Array.from({ length: 200 }, (_, n) => 2 * n));
    const many = Array.from({ length: 65535 }, (_, n) => n);
    const text = `SELECT count(*)::int AS n FROM (VALUES ${many.map((n) => `($${n + 1}::int)`).join(",")}) v`;
    assert.equal((await client.query(text, many)).rows[0].n, many.length);
  }));

test("large values", () =>
  withClient(async (client) => {
    const value = large();
    const found = await client.query("SELECT $1::bytea AS v", [value]);
    assert.ok(found.rows[0].v.equals(value));
  }));

test("COPY goes both ways", () =>
  withClient(async (client) => {
    await client.query("CREATE TEMP TABLE copied (id int, name text)");
    const rows = Array.from({ length: 20000 }, (_, n) => `${n}\tname ${n}\n`);
    await pipeline(Readable.from(rows), client.query(copy.from("COPY copied FROM STDIN")));
    let text = "";
    for await (const part of client.query(copy.to("COPY copied TO STDOUT"))) text += part;
    assert.ok(text === rows.join(""));
    await assert.rejects(
      pipeline(Readable.from(["no number\tx\n"]), client.query(copy.from("COPY copied FROM STDIN"))),
      { code: "22P02" });
    assert.equal((await client.query("SELECT count(*)::int AS n FROM copied")).rows[0].n, 20000);
  }));

test("a notification reaches another connection", () =>
  withClient(async (client) => {
    await client.query("LISTEN news");
    const heard = once(client, "notification");
    await withClient((other) => other.query("SELECT pg_notify('news', 'hello')"));
    assert.equal((await heard)[0].payload, "hello");
  }));

test("another connection cancels a statement", () =>
  withClient(async (client) => {
    const query = new pg.Query("SELECT pg_sleep(60)");
    const ended = new Promise((resolve) => query.on("error", resolve));
    client.query(query);
    const timer = setInterval(() => new pg.Client(postgresOptions()).cancel(client, query), 300);
    assert.equal((await ended).code, "57014");
    clearInterval(timer);
    assert.equal((await client.query("SELECT 1 AS n")).rows[0].n, 1);
  }));

test("a pool of many clients", async () => {
  const pool = new pg.Pool({ ...postgresOptions(), max: 25 });
  const answers = await Promise.all(
    Array.from({ length: 500 }, (_, n) => pool.query("SELECT $1::int AS n", [n])));
  assert.equal(answers.reduce((sum, answer) => sum + answer.rows[0].n, 0), (499 * 500) / 2);
  await pool.end();
});

test("TLS", async () => {
  const trusted = { ssl: { ca: readFileSync(ca, "utf8") } };
  const found = await withClient((client) => client.query("SELECT current_user AS who"), trusted);
  assert.equal(found.rows[0].who, "checkout");
  await assert.rejects(withClient(() => {}, { ssl: true }), /certificate/);
});

test("the role is chosen by the user's name", async () => {
  for (const user of ["checkout", "storefront"]) {
    const found = await withClient(
      (client) => client.query("SELECT current_user AS who"), { user, password: token("clerk") });
    assert.equal(found.rows[0].who, user);
  }
});

for (const [kind, [bad, rule]] of badTokens) {
  test(`a bad token is refused: ${kind}`, () =>
    assert.rejects(withClient(() => {}, { password: bad }), (error) => {
      assert.match(error.message, new RegExp(rule));
      return true;
    }));
}
