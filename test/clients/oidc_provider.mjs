// OIDC providers of the npm package oidc-provider, for oidc_provider_test.py and identity_test.py.
//
//   oidc_provider.mjs [ISSUER...]      one for each issuer, which somebody else answers for; else one with its own URL
//
// Says its URL, or the ports where they listen, in a line of JSON; the line "rotate" on its standard input makes them sign
// with new keys, "rotate beside" with new keys that are published beside the old ones.
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const folder = join(process.env.CLIENT_PACKAGES, "node_modules", "oidc-provider", "lib", "index.js");
const { Provider } = await import(pathToFileURL(folder).href);

let generation = 0;
function makeKeys() {
  ++generation;
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" });
  const ec = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" });
  return [
    { ...rsa, kid: `rsa-${generation}`, alg: "RS256", use: "sig" },
    { ...ec, kid: `ec-${generation}`, alg: "ES256", use: "sig" },
  ];
}

const client = (name) => ({
  client_id: name,
  client_secret: "a secret of a test",
  grant_types: ["client_credentials"],
  redirect_uris: [],
  response_types: [],
});

function makeProvider(issuer, keys) {
  return new Provider(issuer, {
    jwks: { keys },
    clients: [client("shop-checkout"), client("stranger")],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (context, resource) => {
          const { hostname, pathname } = new URL(resource);
          return {
            scope: "",
            audience: hostname.split(".")[0],
            accessTokenTTL: 300,
            accessTokenFormat: "jwt",
            jwt: { sign: { alg: pathname.slice(1) } },
          };
        },
      },
    },
  });
}

// Signs with the first key of each kind.
let keys = makeKeys();
const issuers = process.argv.slice(2);
const servers = (issuers.length > 0 ? issuers : [""]).map((issuer) => {
  const entry = { issuer };
  entry.server = createServer((request, response) => entry.handler(request, response));
  entry.renew = () => {
    entry.handler = makeProvider(entry.issuer, keys).callback();
  };
  return entry;
});

await Promise.all(servers.map(({ server }) => new Promise((done) => server.listen(0, "127.0.0.1", done))));
const ports = servers.map(({ server }) => server.address().port);
if (issuers.length === 0) servers[0].issuer = `http://127.0.0.1:${ports[0]}`;
servers.forEach((entry) => entry.renew());
console.log(JSON.stringify(issuers.length === 0 ? { issuer: servers[0].issuer } : { ports }));

createInterface({ input: process.stdin })
  .on("line", (line) => {
    if (line !== "rotate" && line !== "rotate beside") return;
    keys = line === "rotate" ? makeKeys() : [...makeKeys(), ...keys];
    servers.forEach((entry) => entry.renew());
    console.log(JSON.stringify({ generation }));
  })
  .on("close", () => process.exit(0));
