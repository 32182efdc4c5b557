/** What a chat shows, and when it tells its listeners. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { AgentSocket } from '../../agentws/web/client.js';
import { opened, shown, started, text } from './chats.mjs';
import { fakeNetwork, settled } from './fakes.mjs';

test('an error without a request becomes a notice', async () => {
  const { chat, socket } = await opened();
  socket.deliver({ type: 'error', code: 'bad_request', message: 'What?', retryable: false });
  assert.deepEqual(
    chat.getSnapshot().notices.map(({ content, level }) => [content, level]),
    [['What?', 'error']],
  );
});

test('an error that only interrupts the connection is no notice', async () => {
  const { chat, socket } = await opened();
  socket.deliver({ type: 'error', code: 'unavailable', message: 'Not now.', retryable: true });
  assert.deepEqual(chat.getSnapshot().notices, []);
  socket.drop(4503);
  const { connection, error } = chat.getSnapshot();
  assert.deepEqual([connection, error?.message], ['reconnecting', 'Not now.']);
});

test('a message that is not JSON is ignored', async () => {
  const { chat, socket } = await opened();
  socket.onmessage({ data: 'nonsense' });
  socket.onmessage({ data: new ArrayBuffer(1) });
  assert.equal(chat.getSnapshot().connection, 'open');
});

test('getSnapshot() returns the same object until something changes', async () => {
  const { chat, socket } = await opened();
  let calls = 0;
  const unsubscribe = chat.subscribe(() => calls++);
  const before = chat.getSnapshot();
  assert.equal(chat.getSnapshot(), before);
  assert.equal(Object.isFrozen(before), true);
  socket.deliver(started(1, 'r1', 'u1', 'Hi'), ...text(2, 'r1', 'Hel', 'lo'));
  assert.equal(calls, 1, 'one message of the server is one change');
  assert.notEqual(chat.getSnapshot(), before);
  unsubscribe();
  socket.deliver({ type: 'notice', content: 'x', level: 'info' });
  assert.equal(calls, 1);
});

test('the constructor opens no connection', async () => {
  const network = fakeNetwork();
  const chat = new AgentSocket('wss://example.test/ws/chat', {
    WebSocket: network.WebSocket,
    signals: {},
  });
  await settled();
  assert.equal(network.sockets.length, 0);
  assert.equal(chat.getSnapshot().connection, 'closed');
});

test('older messages are put in front, each once', async () => {
  const { chat, socket } = await opened({ welcome: { resume: 'snapshot' } });
  const user = (id) => ({ id, role: 'user', content: id });
  const metadata = { agentws: { before: 40 } };
  socket.deliver({
    id: 'ep.50.',
    event: { type: 'MESSAGES_SNAPSHOT', messages: [user('c')], metadata },
  });
  assert.equal(chat.getSnapshot().earlier, 40);
  chat.showEarlier({ messages: [user('a'), user('b'), user('c')], before: 20 });
  assert.deepEqual(
    chat.getSnapshot().messages.map(({ id }) => id),
    ['a', 'b', 'c'],
  );
  assert.equal(chat.getSnapshot().earlier, 20);
  const posted = { content: 'Ready', level: 'info' };
  const notices = [
    { ...posted, position: 'ep.3.t' },
    { ...posted, position: 'ep.9.t', after: 'y' },
  ];
  chat.showEarlier({ messages: [user('y'), user('z')], notices, before: 2 });
  assert.deepEqual(
    chat.getSnapshot().messages.map(({ id, role }) => [id, role]),
    [
      ['ep.3.t', 'notice'],
      ['y', 'user'],
      ['ep.9.t', 'notice'],
      ['z', 'user'],
      ...['a', 'b', 'c'].map((id) => [id, 'user']),
    ],
  );
  chat.showEarlier({ messages: [] });
  assert.equal(chat.getSnapshot().earlier, null);
});

/** @returns the messages of the rejections that nobody handles during `act` */
async function reportedDuring(act) {
  const kind = 'unhandledRejection';
  const others = process.listeners(kind);
  const messages = new Set();
  process.removeAllListeners(kind).on(kind, ({ message }) => messages.add(message));
  try {
    await act();
    await new Promise((resolve) => setImmediate(resolve));
  } finally {
    process.removeAllListeners(kind);
    for (const other of others) process.on(kind, other);
  }
  return [...messages];
}

test('a listener that throws is reported, and nothing is lost', async () => {
  const bad = (message) => () => {
    throw new Error(message);
  };
  const { chat, network } = await opened();
  let told = 0;
  const reported = await reportedDuring(async () => {
    chat.subscribe(bad('a change'));
    chat.subscribe(() => told++);
    chat.watchPresence(bad('presence'));
    chat.follow('orders', ({ position }) => position && bad('a topic')());
    const [{ id: reply }] = network.last().sentOf('subscribe');
    network
      .last()
      .deliver(
        { type: 'subscribed', reply, topic: 'orders', after: 'top.0.', resume: 'snapshot' },
        { type: 'presence', members: [] },
        started(1, 'r', 'm', 'a'),
        ...text(2, 'r', 'b'),
      );
    chat.reconnect();
    await settled();
  });
  assert.deepEqual(reported, ['a topic', 'presence', 'a change']);
  assert.deepEqual(shown(chat).at(-1), ['b', 'streaming']);
  assert.equal(told, 2);
  assert.equal(network.sockets.length, 2, 'it reconnects at once');
});
