/** The sessions of a person, with a fake fetch. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RequestError, Sessions } from '../../agentws/web/client.js';
import { spelled } from '../../agentws/web/exact.js';

const ONE = { id: 'ses_0123456789abcdef', createdAt: 'then', updatedAt: 'now', title: 'Oslo' };

/** Answers every request with that status and text, and records it. */
function served(status, text, options = {}) {
  /** @type {any[]} */
  const asked = [];
  const fetch = async (url, init) => {
    asked.push({ url, ...init });
    return new Response(status === 204 ? null : text, { status });
  };
  const sessions = new Sessions('wss://chat.example/app/ws/chat', { fetch, ...options });
  return { asked, sessions };
}

test('a list is searched and continued by its parameters', async () => {
  const { asked, sessions } = served(200, JSON.stringify({ sessions: [ONE], before: 'abc' }));
  assert.deepEqual(await sessions.list(), { sessions: [ONE], before: 'abc' });
  await sessions.list({ query: 'oslo & co', before: 'abc', limit: 10 });
  assert.deepEqual(
    asked.map(({ method, url }) => [method, url]),
    [
      ['GET', 'https://chat.example/app/sessions'],
      ['GET', 'https://chat.example/app/sessions?query=oslo+%26+co&before=abc&limit=10'],
    ],
  );
});

test('the token is asked for before every request', async () => {
  let count = 0;
  const { asked, sessions } = served(204, '', { getToken: () => `t${++count}` });
  assert.equal(await sessions.delete('a/b'), undefined);
  await sessions.delete('..');
  assert.deepEqual(
    asked.map(({ method, url, headers }) => [method, url, headers.authorization]),
    [
      ['DELETE', 'https://chat.example/app/sessions/a%2Fb', 'Bearer t1'],
      ['DELETE', 'https://chat.example/app/sessions/-', 'Bearer t2'],
    ],
  );
});

test('a session is renamed by a JSON body', async () => {
  const { asked, sessions } = served(200, JSON.stringify(ONE), { credentials: true });
  assert.deepEqual(await sessions.rename(ONE.id, 'Oslo'), ONE);
  const [{ method, url, body, headers, credentials }] = asked;
  assert.deepEqual([method, url], ['PATCH', `https://chat.example/app/sessions/${ONE.id}`]);
  assert.deepEqual([body, headers], ['{"title":"Oslo"}', { 'content-type': 'application/json' }]);
  assert.equal(credentials, 'include');
});

test('numbers in older messages keep their spelling', async () => {
  const { asked, sessions } = served(200, '{"messages":[{"content":{"price":10.00}}]}');
  const { messages } = await sessions.messages(ONE.id, 42);
  assert.equal(spelled(messages), '[{"content":{"price":10.00}}]');
  assert.match(asked[0].url, /\/messages\?before=42$/);
});

test('an id that no address can have is refused by the server', async () => {
  const { sessions, asked } = served(403, '{"code":"forbidden","message":"No."}');
  await assert.rejects(sessions.get('a\ud800'), { code: 'forbidden' });
  assert.match(asked[0].url, /\/sessions\/a%EF%BF%BD$/);
});

test('a refusal of any kind is a RequestError', async () => {
  const refusal = JSON.stringify({ code: 'forbidden', message: 'Not yours.', retryable: false });
  const lost = () => Promise.reject(new TypeError('fetch failed'));
  const unclear = 'The server answered 502.';
  for (const { server, code, message } of [
    { server: served(403, refusal), code: 'forbidden', message: 'Not yours.' },
    { server: served(502, '<h1>Bad gateway</h1>'), code: 'failed', message: unclear },
    { server: served(502, 'null'), code: 'failed', message: unclear },
    {
      server: served(200, '', { fetch: lost }),
      code: 'connection_lost',
      message: 'The connection was lost before this was answered.',
    },
  ])
    await assert.rejects(server.sessions.list(), (/** @type {any} */ error) => {
      assert.ok(error instanceof RequestError);
      assert.deepEqual([error.code, error.message], [code, message]);
      return true;
    });
});
