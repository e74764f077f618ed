import { createServer } from 'node:http';
import { VerificationError, verify } from '@ledgerhook/client';

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  try {
    const event = verify(Buffer.concat(chunks), request.headers, process.env.WEBHOOK_SECRET);
    console.log('received', event.type, 'with id', request.headers['webhook-id']);
    response.writeHead(200).end();
  } catch (error) {
    if (!(error instanceof VerificationError)) throw error;
    console.log('refused:', error.reason, error.message);
    response.writeHead(401).end();
  }
}).listen(3000);
