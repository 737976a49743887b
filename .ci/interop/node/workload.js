// A Node.js service's view of the Workload API, through @grpc/grpc-js and our published contract.
// Usage: node workload.js workloadapi.proto
"use strict";
const assert = require("node:assert");
const crypto = require("node:crypto");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const definition = loader.loadSync(process.argv[2], { keepCase: true });
const { SpiffeWorkloadAPI } = grpc.loadPackageDefinition(definition);
const client = new SpiffeWorkloadAPI(process.env.SPIFFE_ENDPOINT_SOCKET, grpc.credentials.createInsecure());
const deadline = () => ({ deadline: Date.now() + 20_000 });

function header() {
  const metadata = new grpc.Metadata();
  metadata.set("workload.spiffe.io", "true");
  return metadata;
}

const first = (method) =>
  new Promise((resolve, reject) => {
    const stream = client[method]({}, header(), deadline());
    stream.on("data", (message) => (resolve(message), stream.cancel()));
    stream.on("error", reject);
  });
const unary = (method, request, metadata = header()) =>
  new Promise((resolve, reject) =>
    client[method](request, metadata, deadline(), (error, answer) => (error ? reject(error) : resolve(answer))));

async function main() {
  const { svids } = await first("FetchX509SVID");
  const leaf = new crypto.X509Certificate(svids[0].x509_svid); // reads the first of the concatenated certificates
  assert.strictEqual(leaf.subjectAltName.split(", ")[0], `URI:${svids[0].spiffe_id}`);
  assert(leaf.checkPrivateKey(crypto.createPrivateKey({ key: svids[0].x509_svid_key, format: "der", type: "pkcs8" })));
  const domain = svids[0].spiffe_id.split("/").slice(0, 3).join("/");
  assert((await first("FetchX509Bundles")).bundles[domain].equals(svids[0].bundle));

  const token = (await unary("FetchJWTSVID", { audience: ["audience"] })).svids[0].svid;
  const [head, body, signature] = token.split(".");
  const { kid } = JSON.parse(Buffer.from(head, "base64url"));
  const jwks = JSON.parse((await first("FetchJWTBundles")).bundles[domain]);
  const key = crypto.createPublicKey({ key: jwks.keys.find((k) => k.kid === kid), format: "jwk" });
  const verified = crypto.verify("sha256", Buffer.from(`${head}.${body}`), { key, dsaEncoding: "ieee-p1363" }, Buffer.from(signature, "base64url"));
  assert(verified, "the JWT-SVID does not verify against the JWT bundle");
  const answer = await unary("ValidateJWTSVID", { audience: "audience", svid: token });
  assert.strictEqual(answer.spiffe_id, svids[0].spiffe_id);
  await assert.rejects(unary("FetchJWTSVID", { audience: ["a"] }, new grpc.Metadata()), { code: grpc.status.INVALID_ARGUMENT });
  console.log(`grpc-js: ${svids[0].spiffe_id} X.509 and JWT fetched and verified`);
  client.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
