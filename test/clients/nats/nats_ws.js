// nats.js over WebSocket (its nats.ws, as browsers run it) through the nats door: messages, requests, JetStream.
//
//   node nats_ws.js PORT TOKEN
//
// TOKEN is of role checkout. Prints a line for each check, exits 1 when one failed. The certificate's authority is in
// NODE_EXTRA_CA_CERTS.

globalThis.WebSocket = require("ws");
const { connect, headers, StringCodec, ErrorCode } = require("nats.ws");

const [port, token] = process.argv.slice(2);
const text = StringCodec();
const patience = 10000;
let failures = 0;

function check(name, holds, seen) {
  console.log(`${holds ? "ok" : "FAILED"}: WebSocket: ${name}${holds ? "" : `: ${JSON.stringify(seen)}`}`);
  if (!holds) failures += 1;
}

function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took too long`)), patience);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function take(subscription, count) {
  const messages = [];
  for await (const message of subscription) {
    messages.push(message);
    if (messages.length === count) break;
  }
  return messages;
}

async function through(scheme) {
  const servers = `${scheme}://localhost:${port}`;
  const options = { servers, reconnect: false, timeout: patience };
  const connection = await within(connect({ ...options, token }), scheme);
  const subscription = connection.subscribe("orders.ws", { max: 3 });
  const sent = headers();
  sent.set("Other", "kept");
  connection.publish("orders.ws", text.encode("one"), { headers: sent });
  connection.publish("orders.ws", new Uint8Array(500000));
  connection.publish("orders.ws");
  const [one, two, three] = await within(take(subscription, 3), "messages");
  check(`${scheme}: messages`, text.decode(one.data) === "one" && two.data.length === 500000 && three.data.length === 0);
  check(`${scheme}: headers`, one.headers.get("Other") === "kept" && /sub=checkout/.test(one.headers.get("Meridian-Identity")));
  const served = connection.subscribe("svc.echo", { callback: (_, message) => message.respond(message.data) });
  const reply = await within(connection.request("svc.echo", text.encode("hi"), { timeout: patience }), "a reply");
  check(`${scheme}: a request`, text.decode(reply.data) === "hi");
  served.unsubscribe();
  const manager = await within(connection.jetstreamManager(), "JetStream");
  await within(manager.streams.add({ name: "ORDERS", subjects: ["orders.stream.*"] }), "a stream");
  const stored = await within(connection.jetstream().publish("orders.stream.w", text.encode("x")), "an ack");
  check(`${scheme}: JetStream`, stored.seq > 0 && !stored.duplicate, stored);
  await within(manager.streams.delete("ORDERS"), "a stream's end");
  await connection.close();
  const refused = await within(connect({ ...options, token: "a.b.c" }).then((c) => c.close(), (e) => e), "a refusal");
  check(`${scheme}: a bad token`, refused?.code === ErrorCode.AuthorizationViolation, refused?.code);
}

async function main() {
  await through("ws");
  await through("wss");
  process.exit(failures === 0 ? 0 : 1);
}

main().catch((error) => {
  console.log(`FAILED: ${error.stack}`);
  process.exit(1);
});
