// nats.js through the nats door of a node that runs: publishing, subscribing, queue groups,
// requests, headers, JetStream, denials. Unmodified client, real nats-server.
//
//   node nats_js.js PORT TOKEN OTHER_TOKEN
//
// TOKEN is of role checkout, OTHER_TOKEN of role reporting (see nats_clients.py). Prints a line for
// each check, exits 1 when one failed.

const { connect, headers, StringCodec, AckPolicy, ErrorCode } = require("nats");

const [port, token, otherToken] = process.argv.slice(2);
const text = StringCodec();
const patience = 10000;
let failures = 0;

function check(name, holds, seen) {
  console.log(`${holds ? "ok" : "FAILED"}: ${name}${holds ? "" : `: ${JSON.stringify(seen)}`}`);
  if (!holds) failures += 1;
}

function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took too long`)), patience);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const open = (options = {}) =>
  connect({ servers: `127.0.0.1:${port}`, token, reconnect: false, timeout: patience, ...options });

// The next `count` messages of a subscription.
async function take(subscription, count) {
  const messages = [];
  for await (const message of subscription) {
    messages.push(message);
    if (messages.length === count) break;
  }
  return messages;
}

// The first complaint of the server about this connection.
async function complaint(connection) {
  for await (const status of connection.status()) {
    if (status.type === "error") return status;
  }
  return null;
}

async function logins() {
  for (const [name, options] of [
    ["auth_token", {}],
    ["password", { token: undefined, user: "checkout", pass: token }],
  ]) {
    const connection = await within(open(options), name);
    check(`login by ${name}`, connection.info.auth_required === true, connection.info);
    check("INFO names the node alone", connection.info.server_name === "test", connection.info);
    check("INFO lists no other server", connection.info.connect_urls === undefined, connection.info);
    check("payloads are bounded below the server's", connection.info.max_payload === 1048576 - 1024,
          connection.info.max_payload);
    await connection.close();
  }
  for (const [name, options] of [
    ["a bad token", { token: "x.y.z" }],
    ["no token", { token: undefined }],
    ["a role that it has not", { token: undefined, user: "reporting", pass: token }],
  ]) {
    const error = await within(open(options).then((c) => c.close(), (e) => e), name);
    check(`refused: ${name}`, error?.code === ErrorCode.AuthorizationViolation, error?.code);
  }
}

async function messages(connection) {
  const subscription = connection.subscribe("orders.>", { max: 2 });
  await connection.flush();
  const sent = headers();
  sent.set("Other", "kept");
  sent.set("Meridian-Identity", "iss=evil;sub=root");
  sent.append("mErIdIaN-identity", "iss=evil");
  sent.set("Meridian_Identity", "iss=evil");
  connection.publish("orders.created", text.encode("one"), { headers: sent });
  connection.publish("orders.created", text.encode("two"));
  const [one, two] = await within(take(subscription, 2), "two messages");
  check("payload", text.decode(one.data) === "one" && text.decode(two.data) === "two");
  const stamp = one.headers.get("Meridian-Identity");
  check("the stamp", /^iss=meridian;sub=checkout;role=checkout;req=[0-9a-f]{32}$/.test(stamp), stamp);
  check("one stamp alone", one.headers.values("Meridian-Identity").length === 1 &&
        [...one.headers.keys()].length === 2, [...one.headers.keys()]);
  check("other headers stay", one.headers.get("Other") === "kept", one.headers.toString());
  check("a stamp without headers", two.headers.get("Meridian-Identity") === stamp);
}

async function denials(connection) {
  const whole = connection.subscribe("orders.>");
  await connection.flush();
  const first = complaint(connection);
  connection.publish("orders.audit.x", text.encode("no"));
  connection.publish("orders.secret.x", text.encode("filtered"));
  connection.publish("orders.visible", text.encode("yes"));
  const [only] = await within(take(whole, 1), "the visible message");
  check("denied parts of a subscription are left out", only.subject === "orders.visible", only.subject);
  const error = await within(first, "a complaint");
  check("a denied subject", error.data === ErrorCode.PermissionsViolation &&
        error.permissionContext.subject === "orders.audit.x", error);
  for (const subject of ["other", ">", "orders.secret.*", "$SYS.>", "$JS.>", "_INBOX.>", "_INBOX.*"]) {
    const refused = connection.subscribe(subject);
    const reason = await within(take(refused, 1).then(() => null, (e) => e), `denial of ${subject}`);
    check(`no subscription to ${subject}`, reason?.code === ErrorCode.PermissionsViolation, reason?.code);
  }
  check("the connection goes on", (await within(connection.rtt(), "rtt")) >= 0);
}

async function requests(connection) {
  const other = await within(open({ token: otherToken }), "the other's login");
  const served = connection.subscribe("svc.echo", {
    queue: "echo",
    callback: (_, message) => {
      const caller = message.headers.get("Meridian-Identity");
      message.respond(text.encode(`${text.decode(message.data)} from ${caller.match(/sub=([^;]*)/)[1]}`));
    },
  });
  await connection.flush();
  const reply = await within(other.request("svc.echo", text.encode("hello"), { timeout: patience }), "a reply");
  check("request and reply", text.decode(reply.data) === "hello from reporting", text.decode(reply.data));
  served.unsubscribe();
  await connection.flush();
  const nobody = await within(
    other.request("svc.echo", undefined, { timeout: patience }).then(() => null, (e) => e), "no responders");
  check("no responders", nobody?.code === ErrorCode.NoResponders, nobody?.code);
  // An inbox is its owner's, also for who has learnt its name.
  let inbox = "";
  const spy = connection.subscribe("svc.echo", { max: 1, callback: (_, m) => { inbox = m.reply; m.respond(); } });
  await connection.flush();
  await within(other.request("svc.echo", undefined, { timeout: patience }), "the inbox's name");
  const stolen = connection.subscribe(inbox.replace(/\.[^.]*$/, ".*"));
  const reason = await within(take(stolen, 1).then(() => null, (e) => e), "denial of the inbox");
  check("nobody else's inbox", reason?.code === ErrorCode.PermissionsViolation, reason?.code);
  spy.unsubscribe();
  await other.close();
}

async function jetstream(connection) {
  const manager = await within(connection.jetstreamManager(), "JetStream");
  const made = await within(manager.streams.add({ name: "ORDERS", subjects: ["orders.stream.*"] }), "a stream");
  check("a stream", made.config.name === "ORDERS", made.config);
  const stream = connection.jetstream();
  for (let i = 0; i < 10; ++i) {
    const ack = await within(stream.publish("orders.stream.a", text.encode(String(i)), { msgID: `id${i}` }), "an ack");
    check(`stored as ${i + 1}`, ack.seq === i + 1 && !ack.duplicate, ack);
  }
  const again = await within(stream.publish("orders.stream.a", text.encode("0"), { msgID: "id0" }), "an ack");
  check("a duplicate is one", again.duplicate === true, again);
  await within(manager.consumers.add("ORDERS", { durable_name: "d", ack_policy: AckPolicy.Explicit }), "a consumer");
  const consumer = await within(stream.consumers.get("ORDERS", "d"), "the consumer");
  const fetched = [];
  for await (const message of await consumer.fetch({ max_messages: 10, expires: patience })) {
    fetched.push(message);
    await within(message.ackAck(), "an acknowledgement");
  }
  check("pulled in order", fetched.map((m) => m.string()).join("") === "0123456789", fetched.length);
  check("with the publisher's identity",
        fetched.every((m) => m.headers.get("Meridian-Identity").includes("sub=checkout")));
  check("ids are the role's own", fetched[3].headers.get("Nats-Msg-Id") === "checkout:id3",
        fetched[3].headers.get("Nats-Msg-Id"));
  const left = await within(manager.consumers.info("ORDERS", "d"), "the consumer");
  check("all acknowledged", left.num_pending === 0 && left.num_ack_pending === 0, left);
  const refused = await within(
    manager.streams.add({ name: "OTHER", subjects: ["x"] }).then(() => null, (e) => e), "a denied stream");
  check("no other stream", refused !== null, refused);
}

async function main() {
  await logins();
  const connection = await within(open(), "login");
  await messages(connection);
  await denials(connection);
  await requests(connection);
  await jetstream(connection);
  await connection.close();
  console.log(failures === 0 ? "all checks hold" : `${failures} checks failed`);
  process.exit(failures === 0 ? 0 : 1);
}

main().catch((error) => {
  console.log(`FAILED: ${error.stack}`);
  process.exit(1);
});
