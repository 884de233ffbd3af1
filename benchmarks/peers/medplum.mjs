// Medplum's router over its repository in memory, as a FHIR base: what it keeps is gone with it.
// Says its port on a line of its own.
import { createServer } from 'node:http';

// Its core names WebSocket when it is loaded, which Node has from version 22 on; nothing here opens one.
globalThis.WebSocket ??= class {};
const { FhirRouter, MemoryRepository } = await import('@medplum/fhir-router');

const BASE = '/fhir';
const router = new FhirRouter();
const repository = new MemoryRepository();

async function answered(request, body) {
  const [outcome, resource] = await router.handleRequest(
    {
      method: request.method,
      url: request.url.slice(BASE.length) || '/',
      pathname: '', // These three it finds in `url`.
      params: {},
      query: {},
      headers: request.headers,
      body: body.length ? JSON.parse(body) : undefined,
    },
    repository
  );
  const status = { ok: 200, created: 201, 'not-found': 404 }[outcome.id] ?? 400;
  return [status, JSON.stringify(resource ?? outcome)];
}

const server = createServer((request, response) => {
  const pieces = [];
  request.on('data', (piece) => pieces.push(piece));
  request.on('end', async () => {
    try {
      const [status, text] = await answered(request, Buffer.concat(pieces));
      const length = Buffer.byteLength(text);
      response.writeHead(status, { 'Content-Type': 'application/fhir+json', 'Content-Length': length });
      response.end(text);
    } catch (error) {
      response.writeHead(500, { 'Content-Length': 0 });
      response.end();
      console.error(error);
    }
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
