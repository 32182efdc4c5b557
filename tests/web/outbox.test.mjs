/** The outbox: a message is kept until the log shows it, and is sent again where it has to be. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { AgentSocket } from '../../agentws/web/client.js';
import { acceptedEvent, again, event, opened, shown, started, text } from './chats.mjs';
import { FakeStorage } from './fakes.mjs';

test('a message is shown at once, and only once, from sending to done', async () => {
  const { chat, socket } = await opened();
  const id = chat.send('Hi', { overlap: 'queue', metadata: { a: 1 } });
  assert.deepEqual(socket.sent.at(-1), {
    type: 'send',
    id,
    content: 'Hi',
    overlap: 'queue',
    metadata: { a: 1 },
  });
  assert.deepEqual(shown(chat), [['Hi', 'sending']]);
  assert.equal(chat.getSnapshot().status, 'submitted');
  socket.deliver({ type: 'accepted', reply: id, position: 'ep.1.t', durability: 'disk' });
  assert.deepEqual(shown(chat), [['Hi', 'sending']], 'the log has not shown it yet');
  socket.deliver(acceptedEvent(1, id, 'Hi'));
  assert.deepEqual(shown(chat), [['Hi', 'queued']]);
  socket.deliver(started(2, 'r1', id, 'Hi'));
  assert.deepEqual(shown(chat), [['Hi', 'done']]);
  socket.deliver(...text(3, 'r1', 'Hel'));
  assert.equal(chat.getSnapshot().status, 'streaming');
});

test('an unaccepted message is sent again, with the same id, on every new connection', async () => {
  const world = await opened();
  const id = world.chat.send('Hi');
  const second = await again(world);
  assert.deepEqual(second.sentOf('send'), [{ type: 'send', id, content: 'Hi' }]);
  second.deliver(acceptedEvent(1, id, 'Hi'));
  const third = await again(world);
  assert.deepEqual(third.sentOf('send'), [], 'the log shows it, although the answer was lost');
});

test('an accepted message that is missing in the replayed log is sent again', async () => {
  const world = await opened();
  const id = world.chat.send('Hi');
  world.socket.deliver({ type: 'accepted', reply: id, position: 'ep.5.t', durability: 'process' });
  const second = await again(world);
  assert.equal(second.sentOf('send').length, 1);
});

test('messages sent while disconnected go out in order', async () => {
  const world = await opened();
  world.network.last().drop();
  world.chat.send('one');
  world.chat.send('two');
  await world.clock.advance(0);
  world.network.last().welcome({ resume: 'replay' });
  assert.deepEqual(
    world.network
      .last()
      .sentOf('send')
      .map(({ content }) => content),
    ['one', 'two'],
  );
});

test('unsent messages survive a reload', async () => {
  const storage = new FakeStorage();
  const first = await opened({ storage, session: 'ses_1' });
  const id = first.chat.send('Hi');
  first.chat.close();
  const second = await opened({ storage, session: 'ses_1', welcome: { resume: 'snapshot' } });
  assert.deepEqual(
    second.socket.sentOf('send').map((frame) => frame.id),
    [id],
  );
  second.socket.deliver(
    event(1, { type: 'MESSAGES_SNAPSHOT', messages: [{ id, role: 'user', content: 'Hi' }] }),
  );
  assert.equal(storage.items.size, 0);
});

for (const [what, change] of Object.entries({
  'a place of another kind': { position: 7 },
  'a place that is null': { position: null },
  'a place that is garbage': { position: 'garbage' },
  'no message': { frame: { id: 'a' } },
  'no text': { frame: { id: 'a', content: 7 } },
  'no parts': { frame: { id: 'a', content: [null] } },
  'a failure without an error': { status: 'failed' },
})) {
  test(`an invalid entry in the storage is ignored: ${what}`, async () => {
    const storage = new FakeStorage();
    const entry = { frame: { type: 'send', id: 'a', content: 'Hi' }, status: 'accepted', tries: 0 };
    const kept = [{ ...entry, position: 'ep.9.t', ...change }, null, 'x', { frame: null }];
    storage.items.set('agentws:outbox:ses_1', JSON.stringify(kept));
    const { chat, socket } = await opened({
      storage,
      session: 'ses_1',
      welcome: { resume: 'snapshot' },
    });
    socket.deliver(event(20, { type: 'MESSAGES_SNAPSHOT', messages: [] }));
    chat.send('on');
    assert.deepEqual(
      socket.sentOf('send').map(({ content }) => content),
      change.frame ? ['on'] : ['Hi', 'on'],
    );
  });
}

test('a storage that throws is ignored', async () => {
  const storage = {
    getItem: () => 'nonsense',
    setItem: () => {
      throw new Error('full');
    },
    removeItem: () => {},
  };
  const { chat } = await opened({ storage, session: 'ses_1' });
  chat.send('Hi');
  assert.deepEqual(shown(chat), [['Hi', 'sending']]);
});

test('a lone surrogate is sent as U+FFFD', async () => {
  const { chat, socket } = await opened();
  chat.send('cut \ud83d', { metadata: { '\udc00': '\\ud800 is a word, \u{1f600} a whole one' } });
  chat.command('say', '\udc00');
  const [sent, asked] = socket.sent;
  assert.deepEqual(
    [sent.content, sent.metadata, asked.args],
    ['cut \ufffd', { '\ufffd': '\\ud800 is a word, \u{1f600} a whole one' }, '\ufffd'],
  );
});

test('waiting messages go out before those that a listener sends on opening', async () => {
  const world = await opened();
  world.network.last().drop();
  world.chat.send('first');
  let sent = 0;
  world.chat.subscribe(() => {
    if (world.chat.getSnapshot().connection !== 'open' || sent++ > 0) return;
    world.chat.command('help');
    world.chat.send('second');
  });
  await world.clock.advance(0);
  world.network.last().welcome({ resume: 'replay' });
  assert.deepEqual(
    world.network.last().sent.map(({ content, name }) => content ?? name),
    ['first', 'help', 'second'],
  );
});

test('a message over the size limit fails without being sent', async () => {
  const { chat, socket } = await opened({ welcome: { limits: { maxMessageSize: 100 } } });
  chat.send('ä'.repeat(60));
  assert.equal(socket.sentOf('send').length, 0);
  assert.equal(chat.getSnapshot().messages[0].error.code, 'too_large');
});

test('a message that closed the connection as too large is not sent again', async () => {
  const world = await opened();
  world.chat.send('big');
  world.network.last().drop(1009);
  await world.clock.advance(0);
  world.network.last().welcome({ resume: 'replay' });
  assert.deepEqual(world.network.last().sentOf('send'), []);
  assert.deepEqual(shown(world.chat), [['big', 'error']]);
});

test('the outbox is bounded', async () => {
  const { chat } = await opened();
  for (let count = 0; count < 100; count++) chat.send('Hi');
  assert.throws(() => chat.send('Hi'), RangeError);
});

test('nothing is sent while offline, until a frame arrives', async () => {
  const window = new EventTarget();
  const { chat, socket } = await opened({ signals: { window } });
  window.dispatchEvent(new Event('offline'));
  const id = chat.send('Hi');
  chat.send('there');
  chat.answer('i1', true);
  assert.equal(await chat.withdraw(id), null);
  assert.deepEqual(
    socket.sent.map(({ type }) => type),
    ['ping'],
  );
  socket.deliver({ type: 'pong' });
  assert.deepEqual(
    socket.sent.map(({ type }) => type),
    ['ping', 'send', 'answer'],
  );
});

test('after a reload the outbox knows what was sent', async () => {
  const storage = new FakeStorage();
  const first = await opened({ storage, session: 'ses_1' });
  const id = first.chat.send('Hi');
  first.chat.close();
  const second = new AgentSocket('wss://example.test/', { storage, session: 'ses_1', signals: {} });
  const reply = second.withdraw(id);
  second.close();
  await assert.rejects(reply, { code: 'closed' });
});
