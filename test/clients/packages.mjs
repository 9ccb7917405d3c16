// Packages that script/clients has installed, and what node.py tells the tests about the node.
import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";
import { promisify } from "node:util";

const packages = process.env.CLIENT_PACKAGES;
export const load = createRequire(join(packages, "package.json"));

export const token = (subject) => process.env[`TOKEN_${subject.toUpperCase()}`];
// A token of now, as a client's provider of credentials gets one.
export async function freshToken(subject, life) {
  const [program, ...begin] = JSON.parse(process.env.TOKEN_COMMAND);
  const said = await promisify(execFile)(program, [...begin, subject, "--ttl", life]);
  return said.stdout.trim();
}

export const badTokens = Object.entries(JSON.parse(process.env.TOKENS_BAD ?? "{}"));
export const ca = process.env.NODE_CA;

export const postgresOptions = (subject = "checkout") => ({
  host: "127.0.0.1",
  port: Number(process.env.NODE_POSTGRES_PORT),
  database: "shop",
  user: subject,
  password: token(subject),
});

export const redisOptions = (subject = "checkout") => ({
  host: "127.0.0.1",
  port: Number(process.env.NODE_REDIS_PORT),
  username: "default",
  password: token(subject),
});

// Statements that fail, each with the code that the client must see.
export const failures = JSON.parse(process.env.SQLSTATES ?? "[]");

// A value of 100 MB that has every byte in it.
export function large() {
  const value = Buffer.allocUnsafe(100_000_000);
  for (let n = 0; n < value.length; n++) value[n] = n * 7;
  return value;
}
