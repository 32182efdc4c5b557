import assert from 'node:assert/strict';
import { register } from 'node:module';
import test from 'node:test';
import { AgentSocket, idleSnapshot } from '../../agentws/web/client.js';
import { Mounted } from './fake-react.mjs';
import { FakeClock, fakeNetwork, settled } from './fakes.mjs';

const FAKE = new URL('./fake-react.mjs', import.meta.url).href;
const RESOLVE = `export const resolve = (name, context, next) =>
  name === 'react' ? { url: ${JSON.stringify(FAKE)}, shortCircuit: true } : next(name, context);`;
register(`data:text/javascript,${encodeURIComponent(RESOLVE)}`);
globalThis.window ??= /** @type {any} */ (new EventTarget());
const { useAgentChat, useAgentTool, useAgentTopic, useWebSocket } =
  await import('../../agentws/web/react.js');

let sessions = 0;

function world() {
  const network = fakeNetwork();
  const session = `ses_${++sessions}`;
  const options = {
    session,
    clock: new FakeClock(),
    WebSocket: network.WebSocket,
    signals: {},
    random: () => 0,
  };
  return { network, options, url: 'wss://example.test/ws/chat' };
}

test('a component that StrictMode mounts twice opens one connection', async () => {
  const { network, options, url } = world();
  const chat = new Mounted(() => useAgentChat(url, options));
  chat.mount();
  chat.unmount();
  chat.mount();
  await settled();
  assert.equal(network.sockets.length, 1);
  network.last().welcome();
  assert.equal(chat.value.connection, 'open');
  assert.equal(network.last().closedWith, null);
});

test('a conversation that the server lost is removed, and a notice says so', async () => {
  const { network, options, url } = world();
  const chat = new Mounted(() => useAgentChat(url, options));
  const plain = new Mounted(() => useWebSocket(url, options));
  chat.mount();
  plain.mount();
  await settled();
  network.last().welcome();
  const messages = [{ id: 'u1', role: 'user', content: 'Hi' }];
  network.last().deliver({ id: 'ep.1.t', event: { type: 'MESSAGES_SNAPSHOT', messages } });
  assert.equal(chat.value.messages.length, 1);
  network.last().drop();
  await options.clock.advance(1_000);
  network.last().welcome({ resume: 'snapshot', reason: 'lost', head: 'other.0.' });
  network.last().deliver({ id: 'other.0.', event: { type: 'MESSAGES_SNAPSHOT', messages: [] } });
  assert.deepEqual([chat.value.messages, plain.value.messages], [[], []]);
  assert.equal(chat.value.notices[0].metadata.code, 'conversation_lost');
});

test('two components share one connection to a session until both are unmounted', async () => {
  const { network, options, url } = world();
  const first = new Mounted(() => useAgentChat(url, options));
  const second = new Mounted(() => useWebSocket(url, options));
  first.mount();
  second.mount();
  await settled();
  network.last().welcome();
  first.value.send('Hi');
  assert.equal(network.sockets.length, 1);
  assert.deepEqual(
    second.value.messages.map(({ content }) => content),
    ['Hi'],
  );
  assert.equal(second.value.connected, true);
  first.unmount();
  await settled();
  assert.equal(network.last().closedWith, null);
  second.unmount();
  await settled();
  assert.equal(network.last().closedWith, 1000);
});

test('a component that is mounted again connects again', async () => {
  const { network, options, url } = world();
  const chat = new Mounted(() => useAgentChat(url, options));
  chat.mount();
  await settled();
  chat.unmount();
  await settled();
  chat.mount();
  await settled();
  assert.equal(network.sockets.length, 2);
});

test('inline options make no new connection, and the returned functions stay the same', async () => {
  const { network, options, url } = world();
  const chat = new Mounted(() => useAgentChat(url, { ...options }));
  chat.mount();
  const { send } = chat.value;
  await settled();
  network.last().welcome();
  assert.equal(chat.value.send, send);
  assert.equal(network.sockets.length, 1);
});

test('the hook has every method of the socket, apart from those that it calls itself', () => {
  const { options, url } = world();
  const chat = new Mounted(() => useAgentChat(url, options));
  chat.mount();
  const methods = (/** @type {object} */ type) =>
    Object.entries(Object.getOwnPropertyDescriptors(type)).filter(([, { value }]) => value);
  const own = methods(AgentSocket.prototype);
  const inherited = methods(Object.getPrototypeOf(AgentSocket.prototype));
  const managed = new Set(['constructor', 'open', 'close']);
  for (const [name] of [...own, ...inherited])
    assert.ok(managed.has(name) || typeof chat.value[name] === 'function', name);
});

test('a server renders the idle state', () => {
  const { options, url } = world();
  const chat = new Mounted(() => useAgentChat(url, options));
  assert.equal(chat.store.getServerSnapshot(), idleSnapshot);
});

test('a component makes the calls of a tool with its latest handler, while it is mounted', async () => {
  const { network, options, url } = world();
  let city = 'Rome';
  const chat = new Mounted(() => {
    const value = useAgentChat(url, options);
    useAgentTool(value, 'locate', () => city);
    return value;
  });
  chat.mount();
  await settled();
  network.last().welcome();
  let seq = 0;
  const ask = async (id) => {
    const metadata = { agentws: { tool: 'locate' } };
    const asked = { id, reason: 'agentws:client_tool', toolCallId: id, metadata };
    const outcome = { type: 'interrupt', interrupts: [asked] };
    const deliver = (event) => network.last().deliver({ id: `ep.${++seq}.t`, run: id, event });
    deliver({ type: 'RUN_STARTED', threadId: 's', runId: id });
    deliver({ type: 'RUN_FINISHED', threadId: 's', runId: id, outcome });
    await settled();
  };
  await ask('c1');
  city = 'Oslo';
  await ask('c2');
  const sent = network.last();
  chat.unmount();
  await ask('c3');
  assert.deepEqual(
    sent.sentOf('tool_result').map(({ toolCallId, content }) => [toolCallId, content]),
    [
      ['c1', 'Rome'],
      ['c2', 'Oslo'],
    ],
  );
});

test('a component follows a topic while it is mounted', async () => {
  const { network, options, url } = world();
  let topic = 'orders';
  const shown = new Mounted(() => useAgentTopic(useAgentChat(url, options), topic));
  assert.deepEqual([shown.value.topic, shown.value.posts], ['orders', []]);
  shown.mount();
  await settled();
  network.last().welcome();
  const [{ id: reply }] = network.last().sentOf('subscribe');
  const answer = { type: 'subscribed', reply, topic, after: 'top.0.', head: 'top.1.t' };
  const event = { type: 'notice.posted', content: 'one', level: 'info' };
  network.last().deliver({ ...answer, resume: 'snapshot', reason: 'no_position' });
  network.last().deliver({ id: 'top.1.t', topic, event });
  assert.deepEqual(
    shown.value.posts.map(({ content }) => content),
    ['one'],
  );
  topic = 'news';
  shown.render();
  await settled();
  assert.deepEqual([shown.value.topic, shown.value.posts], ['news', []]);
  const sent = network.last();
  assert.deepEqual(
    sent.sentOf('subscribe').map((frame) => frame.topic),
    ['orders', 'news'],
  );
  shown.unmount();
  assert.deepEqual(
    sent.sentOf('unsubscribe').map((frame) => frame.topic),
    ['orders', 'news'],
  );
});
