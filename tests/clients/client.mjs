// What an application does with a FHIR server, by a library that others made:
//   node client.mjs LIBRARY BASE TOKEN
// It says in one line of JSON what came of it.

import { strict as assert } from "node:assert";

const [library, base, token] = process.argv.slice(2);
const patient = { resourceType: "Patient", name: [{ family: "Mockley" }], gender: "female" };

function observation(subject, number) {
  return {
    resourceType: "Observation",
    status: "final",
    code: { coding: [{ system: "http://loinc.org", code: "8867-4" }] },
    subject: { reference: subject },
    valueInteger: number,
  };
}

async function fhirKitClient() {
  const { default: Client } = await import("fhir-kit-client");
  const client = new Client({ baseUrl: base, bearerToken: token });
  const statement = await client.capabilityStatement();
  assert.equal(statement.fhirVersion, "4.0.1");
  const made = await client.create({ resourceType: "Patient", body: patient });
  const subject = `Patient/${made.id}`;
  for (const number of [1, 2, 3]) {
    await client.create({ resourceType: "Observation", body: observation(subject, number) });
  }
  let page = await client.search({
    resourceType: "Observation",
    searchParams: { patient: subject, _count: 2 },
  });
  assert.equal(page.entry.length, 2);
  page = await client.nextPage({ bundle: page });
  assert.equal(page.entry.length, 1);
  const body = { ...made, gender: "male" };
  const changed = await client.update({ resourceType: "Patient", id: made.id, body });
  assert.equal(changed.meta.versionId, "2");
  const history = await client.history({ resourceType: "Patient", id: made.id });
  assert.equal(history.entry.length, 2);
  await assert.rejects(client.read({ resourceType: "Patient", id: "nobody" }), (error) => {
    return error.response.status === 404;
  });
  return made.id;
}

async function medplum() {
  const { MedplumClient } = await import("@medplum/core");
  const at = new URL(base);
  const client = new MedplumClient({ baseUrl: `${at.origin}/`, fhirUrlPath: at.pathname.slice(1), cacheTime: 0 });
  client.setAccessToken(token);
  const made = await client.createResource(patient);
  const subject = `Patient/${made.id}`;
  for (const number of [1, 2, 3]) {
    await client.createResource(observation(subject, number));
  }
  const found = await client.searchResources("Observation", { patient: subject });
  assert.equal(found.length, 3);
  const changed = await client.updateResource({ ...made, gender: "male" });
  assert.equal(changed.gender, "male");
  const patched = await client.patchResource("Patient", made.id, [
    { op: "replace", path: "/gender", value: "other" },
  ]);
  assert.equal(patched.gender, "other");
  const entry = [
    { resource: observation(subject, 4), request: { method: "POST", url: "Observation" } },
  ];
  const answered = await client.executeBatch({ resourceType: "Bundle", type: "batch", entry });
  assert.ok(answered.entry[0].response.status.startsWith("201"));
  await assert.rejects(client.readResource("Patient", "nobody"));
  return made.id;
}

const run = { "fhir-kit-client": fhirKitClient, "@medplum/core": medplum }[library];
console.log(JSON.stringify({ id: await run() }));
