// Prisma, with its query compiler and its adapter for PostgreSQL, through the postgres door.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { badTokens, ca, failures, large, postgresOptions } from "./packages.mjs";

const load = createRequire(join(process.env.CLIENT_PACKAGES, "prisma/package.json"));
const { PrismaClient, Prisma } = load("./made");
const { PrismaPg } = load("@prisma/adapter-pg");

const connect = (options = {}) => new PrismaClient({ adapter: new PrismaPg({ ...postgresOptions(), max: 10, ...options }) });
const prisma = connect();

before(() => prisma.$executeRawUnsafe(
  "CREATE TABLE prisma_notes (id serial PRIMARY KEY, text text NOT NULL UNIQUE, value bytea, details jsonb," +
    " made timestamptz(6) NOT NULL DEFAULT now())"));
after(async () => {
  await prisma.$executeRaw`DROP TABLE prisma_notes`;
  await prisma.$disconnect();
});

test("records are made, read, changed and removed", async () => {
  const made = await prisma.order.create({ data: { id: 4601n, customer: { connect: { id: 1n } } }, include: { customer: true } });
  assert.equal(made.status, "open");
  assert.equal(made.customer.name, "Customer 1");
  const changed = await prisma.order.update({ where: { id: 4601n }, data: { status: "paid", revision: { increment: 1 } } });
  assert.deepEqual([changed.status, changed.revision], ["paid", 1n]);
  assert.equal((await prisma.order.findMany({ where: { status: "paid", id: { gt: 4600n } } })).length, 1);
  assert.equal((await prisma.order.upsert({ where: { id: 4601n }, create: { id: 4601n, customerId: 1n }, update: { totalCents: 5n } })).totalCents, 5n);
  const groups = await prisma.order.groupBy({ by: ["status"], where: { id: { gt: 4600n } }, _count: true });
  assert.deepEqual(groups, [{ _count: 1, status: "paid" }]);
  assert.equal((await prisma.order.deleteMany({ where: { id: { gt: 4600n } } })).count, 1);
  const customers = await prisma.customer.findMany({ include: { orders: { orderBy: { id: "asc" }, take: 2 } }, take: 3, orderBy: { id: "asc" } });
  assert.deepEqual(customers.map((customer) => customer.orders.length), [2, 2, 2]);
});

test("values of all kinds", async () => {
  const details = { list: [1, "two", null], text: "ü" };
  const note = await prisma.note.create({ data: { text: "kinds", details, value: Buffer.from([0, 1, 255]) } });
  const found = await prisma.note.findUnique({ where: { text: "kinds" } });
  assert.deepEqual(found, note);
  assert.deepEqual(found.details, details);
  assert.ok(Date.now() - found.made.getTime() < 3_600_000);
  assert.equal(await prisma.note.count({ where: { details: { path: ["text"], equals: "ü" } } }), 1);
});

test("transactions of a list and of a function", async () => {
  await prisma.$transaction([
    prisma.note.create({ data: { text: "one" } }),
    prisma.note.update({ where: { text: "one" }, data: { text: "first" } }),
  ]);
  await assert.rejects(prisma.$transaction([
    prisma.note.create({ data: { text: "two" } }),
    prisma.note.create({ data: { text: "first" } }),
  ]), { code: "P2002" });
  await assert.rejects(prisma.$transaction(async (inner) => {
    await inner.note.deleteMany();
    throw new Error("the client changes its mind");
  }), /changes its mind/);
  const level = Prisma.TransactionIsolationLevel.Serializable;
  const told = await prisma.$transaction(
    (inner) => inner.$queryRaw`SELECT current_setting('transaction_isolation') AS level`, { isolationLevel: level });
  assert.equal(told[0].level, "serializable");
  assert.equal(await prisma.note.count({ where: { text: { in: ["one", "two", "first"] } } }), 1);
});

test("errors", async () => {
  await assert.rejects(prisma.order.create({ data: { id: 1n, customerId: 1n } }), { code: "P2002" });
  await assert.rejects(prisma.order.create({ data: { id: 4602n, customerId: 4711n } }), { code: "P2003" });
  await assert.rejects(prisma.order.update({ where: { id: 4602n }, data: { status: "paid" } }), { code: "P2025" });
  for (const [text, state] of failures) {
    await assert.rejects(prisma.$executeRawUnsafe(text), (error) => {
      // Its own code, with the server's inside.
      assert.ok(error.code.startsWith("P2"), error.code);
      const told = JSON.stringify(error.meta) + error.message;
      const translated = { 23505: /UniqueConstraint|unique/i, 23503: /ForeignKey|foreign/i, 23502: /Null|null/, 42703: /ColumnNotFound|column/i,
        "42P01": /TableDoesNotExist|table/i, 40001: /TransactionWriteConflict|conflict/i };
      assert.ok(told.includes(state) || translated[state]?.test(told), `${text}: ${told}`);
      return true;
    });
    assert.deepEqual(await prisma.$queryRaw`SELECT ${7}::int AS n`, [{ n: 7 }]);
  }
});

test("parameters, large values and many records", async () => {
  const many = Array.from({ length: 32_766 }, (_, n) => n);
  const sum = await prisma.$queryRawUnsafe(
    `SELECT sum(n)::int AS n FROM (VALUES ${many.map((n) => `($${n + 1}::int)`).join(",")}) v (n)`, ...many);
  assert.equal(sum[0].n, (32_765 * 32_766) / 2);
  // Its adapter splits what is more than it takes for the most.
  const ids = Array.from({ length: 100_000 }, (_, n) => BigInt(n + 1));
  assert.equal((await prisma.order.findMany({ where: { id: { in: ids } } })).length, 100);
  const value = large();
  await prisma.$executeRaw`INSERT INTO prisma_notes (text, value) VALUES ('large', ${value})`;
  const [found] = await prisma.$queryRaw`SELECT value FROM prisma_notes WHERE text = 'large'`;
  assert.ok(Buffer.from(found.value).equals(value));
  await prisma.$executeRaw`DELETE FROM prisma_notes WHERE text = 'large'`;
  const data = Array.from({ length: 20_000 }, (_, n) => ({ text: `note ${n}` }));
  assert.equal((await prisma.note.createMany({ data })).count, data.length);
  assert.equal((await prisma.note.findMany({ where: { text: { startsWith: "note " } } })).length, data.length);
});

test("many at a time, and TLS", async () => {
  const trusted = connect({ host: "localhost", ssl: { ca: readFileSync(ca, "utf8") } });
  const answers = await Promise.all(Array.from({ length: 300 }, (_, n) => trusted.order.findUnique({ where: { id: BigInt(n % 100) + 1n } })));
  assert.ok(answers.every((order, n) => order.id === BigInt(n % 100) + 1n));
  await trusted.$disconnect();
});

for (const [kind, [bad, rule]] of badTokens) {
  test(`a bad token is refused: ${kind}`, async () => {
    const refused = connect({ password: bad });
    await assert.rejects(refused.$queryRaw`SELECT 1`, (error) => {
      assert.match(error.message, new RegExp(`${rule}|Authentication failed`));
      return true;
    });
    await refused.$disconnect();
  });
}
