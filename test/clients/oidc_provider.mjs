// An OIDC provider of the npm package oidc-provider, for oidc_provider_test.py. Says its URL in a line of JSON; the line
// "rotate" on its standard input makes it sign with new keys.
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

let handler;
const server = createServer((request, response) => handler(request, response));
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  let keys = makeKeys();
  handler = makeProvider(issuer, keys).callback();
  console.log(JSON.stringify({ issuer }));
  createInterface({ input: process.stdin })
    .on("line", (line) => {
      if (line !== "rotate") return;
      keys = makeKeys();
      handler = makeProvider(issuer, keys).callback();
      console.log(JSON.stringify({ generation }));
    })
    .on("close", () => process.exit(0));
});
