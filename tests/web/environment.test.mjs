import assert from 'node:assert/strict';
import test from 'node:test';
import { newSessionId } from '../../agentws/web/client.js';
import { environment } from '../../agentws/web/environment.js';

test('ids need no crypto.randomUUID', (context) => {
  context.mock.method(globalThis.crypto, 'randomUUID', () => assert.fail('a secure context only'));
  const made = new Set();
  for (let count = 0; count < 1000; count++) made.add(environment().newId()).add(newSessionId());
  assert.equal(made.size, 2000);
  assert.match(newSessionId(), /^ses_[0-9a-f]{32}$/);
});
