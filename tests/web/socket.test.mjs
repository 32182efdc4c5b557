import assert from 'node:assert/strict';
import test from 'node:test';
import { AgentSocket, RequestError, connect } from '../../agentws/web/client.js';
import { FakeClock, FakeStorage, fakeNetwork, settled } from './fakes.mjs';

/** @param {any} [options] */
async function opened({ welcome, ...options } = {}) {
  const clock = new FakeClock();
  const network = fakeNetwork();
  let ids = 0;
  const chat = connect('wss://example.test/ws/chat', {
    clock,
    WebSocket: network.WebSocket,
    random: () => 0.5,
    signals: {},
    newId: () => `id${++ids}`,
    ...options,
  });
  await settled();
  network.last().welcome(welcome);
  return { chat, clock, network, socket: network.last() };
}

async function again({ network, clock }, fields) {
  network.last().drop();
  await clock.advance(1_000);
  network.last().welcome({ resume: 'replay', ...fields });
  return network.last();
}

const event = (seq, fields, run) => ({ id: `ep.${seq}.t`, ...(run && { run }), event: fields });
const acceptedEvent = (seq, id, content) =>
  event(seq, {
    type: 'message.accepted',
    message: { id, role: 'user', content },
    overlap: 'queue',
  });
const started = (seq, run, id, content) =>
  event(
    seq,
    {
      type: 'RUN_STARTED',
      threadId: 'ses_1',
      runId: run,
      input: { messages: [{ id, role: 'user', content }] },
    },
    run,
  );
const text = (seq, run, ...deltas) => [
  event(seq, { type: 'TEXT_MESSAGE_START', messageId: `${run}-a` }, run),
  ...deltas.map((delta, n) =>
    event(seq + 1 + n, { type: 'TEXT_MESSAGE_CONTENT', messageId: `${run}-a`, delta }, run),
  ),
];
const shown = (chat) =>
  chat.getSnapshot().messages.map(({ text: shownText, status }) => [shownText, status]);

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

test('a switch of the agent is a command, and the session has that agent when the log says so', async () => {
  const { chat, socket } = await opened();
  const switched = chat.switchAgent('billing');
  const { id, ...frame } = socket.sent.at(-1);
  assert.deepEqual(frame, { type: 'command', name: 'agent', args: 'billing' });
  socket.deliver(
    { id: 'ep.1.t', event: { type: 'session.updated', agent: 'billing' } },
    { type: 'accepted', reply: id, position: 'ep.1.t', durability: 'process' },
  );
  await switched;
  assert.equal(chat.getSnapshot().agent, 'billing');
});

test('a command leaves only its answer', async () => {
  const { chat, socket } = await opened();
  const id = chat.send('/help');
  socket.deliver(
    {
      type: 'notice',
      reply: id,
      content: 'Commands: ...',
      level: 'info',
      metadata: { command: 'help' },
    },
    { type: 'accepted', reply: id, position: 'ep.0.', durability: 'process' },
  );
  const { messages, notices, status } = chat.getSnapshot();
  assert.deepEqual(messages, []);
  assert.equal(status, 'ready');
  assert.deepEqual(notices, [
    {
      key: 'notice-1',
      content: 'Commands: ...',
      level: 'info',
      after: null,
      metadata: { command: 'help' },
      reply: id,
    },
  ]);
});

test('a message that is refused for good keeps its error until it is retried or discarded', async () => {
  const { chat, socket } = await opened();
  const id = chat.send('Hi');
  socket.deliver({
    type: 'error',
    reply: id,
    code: 'run_active',
    message: 'Still answering.',
    retryable: true,
  });
  assert.deepEqual(chat.getSnapshot().messages[0].error, {
    code: 'run_active',
    message: 'Still answering.',
    retryable: true,
  });
  assert.equal(chat.getSnapshot().status, 'error');
  chat.retry(id);
  assert.equal(socket.sentOf('send').length, 2);
  assert.deepEqual(shown(chat), [['Hi', 'sending']]);
  socket.deliver({ type: 'error', reply: id, code: 'forbidden', message: 'No.', retryable: false });
  chat.discard(id);
  assert.deepEqual(shown(chat), []);
});

test('a message that is refused for now is sent again after retryAfter', async () => {
  const { chat, socket, clock } = await opened();
  const id = chat.send('Hi');
  socket.deliver({
    type: 'error',
    reply: id,
    code: 'too_many',
    message: 'Slowly.',
    retryable: true,
    retryAfter: 2,
  });
  await clock.advance(1_999);
  assert.equal(socket.sentOf('send').length, 1);
  await clock.advance(1_000);
  assert.equal(socket.sentOf('send').length, 2);
});

const refusal = (reply, code, fields) => ({
  type: 'error',
  reply,
  code,
  message: 'No.',
  retryable: true,
  ...fields,
});
/** A minute in which the server answers every ping. */
async function minute({ socket, clock }) {
  for (let part = 0; part < 6; part++) {
    await clock.advance(10_000);
    socket.deliver({ type: 'pong' });
  }
}
const contents = (socket) => socket.sentOf('send').map(({ content }) => content);

test('messages that are refused for now keep their order, and later ones wait', async () => {
  const { chat, socket, clock } = await opened();
  const ids = ['A', 'B'].map((content) => chat.send(content));
  socket.deliver(
    refusal(ids[0], 'too_many', { retryAfter: 3 }),
    refusal(ids[1], 'too_many', { retryAfter: 1 }),
  );
  chat.send('C');
  await clock.advance(2_900);
  assert.deepEqual(contents(socket), ['A', 'B']);
  await clock.advance(1_000);
  assert.deepEqual(contents(socket), ['A', 'B', 'A', 'B', 'C']);
});

test('an unanswered message is not sent again because another one was refused', async () => {
  const { chat, socket, clock } = await opened();
  const [first] = ['A', 'B'].map((content) => chat.send(content));
  socket.deliver(refusal(first, 'unavailable'));
  await clock.advance(5_000);
  assert.deepEqual(contents(socket), ['A', 'B', 'A']);
});

test('a new connection ends the pause after a refusal', async () => {
  const world = await opened();
  world.socket.deliver(refusal(world.chat.send('A'), 'too_many', { retryAfter: 3600 }));
  world.chat.send('B');
  assert.deepEqual(contents(await again(world)), ['A', 'B']);
});

test('close() ends the pause after a refusal', async () => {
  const { chat, socket, clock } = await opened();
  socket.deliver(refusal(chat.send('A'), 'too_many', { retryAfter: 3600 }));
  chat.close();
  assert.equal(clock.pending, 0);
});

for (const code of ['run_active', 'queue_full']) {
  test(`the refusal ${code} is not retried`, async () => {
    const world = await opened();
    world.socket.deliver(refusal(world.chat.send('A'), code));
    assert.deepEqual(shown(world.chat), [['A', 'error']]);
    await minute(world);
    assert.deepEqual(contents(world.socket), ['A']);
  });
}

test('a message fails after 8 refusals, and retry() counts from zero', async () => {
  const world = await opened();
  const id = world.chat.send('A');
  const tries = async () => {
    let count = 0;
    for (; shown(world.chat)[0][1] === 'sending' && count < 20; count++) {
      world.socket.deliver(refusal(id, 'internal'));
      await minute(world);
    }
    return count;
  };
  assert.equal(await tries(), 8);
  world.chat.retry(id);
  assert.equal(await tries(), 8);
});

for (const content of ['/pay 5', ' ping ', '/']) {
  test(`a command that may have run is not sent again: ${JSON.stringify(content)}`, async () => {
    const world = await opened();
    world.socket.deliver(refusal(world.chat.send(content), 'internal'));
    await minute(world);
    assert.deepEqual(contents(world.socket), [content]);
    assert.deepEqual(shown(world.chat), [[content, 'error']]);
  });

  test(`a command that had not begun is sent again: ${JSON.stringify(content)}`, async () => {
    const { chat, socket, clock } = await opened();
    socket.deliver(refusal(chat.send(content), 'too_many'));
    await clock.advance(5_000);
    assert.deepEqual(contents(socket), [content, content]);
  });
}

test('a command whose answer was lost with the connection is not sent again', async () => {
  const world = await opened();
  const id = world.chat.send('/pay 5');
  const second = await again(world);
  assert.deepEqual(contents(second), []);
  assert.equal(world.chat.getSnapshot().messages[0].error.code, 'connection_lost');
  world.chat.retry(id);
  assert.deepEqual(contents(second), ['/pay 5']);
});

test('a command that was carried out is removed from the outbox', async () => {
  const world = await opened();
  const id = world.chat.send('/pay 5');
  world.socket.deliver({ type: 'accepted', reply: id, position: 'ep.9.t', durability: 'disk' });
  assert.deepEqual(contents(await again(world)), []);
  assert.deepEqual(shown(world.chat), []);
});

test('a command sent while disconnected goes out on the next connection', async () => {
  const world = await opened();
  world.network.last().drop();
  world.chat.send('/pay 5');
  await world.clock.advance(0);
  world.network.last().welcome({ resume: 'replay' });
  assert.deepEqual(contents(world.network.last()), ['/pay 5']);
});

test('text that begins with two slashes is a message, not a command', async () => {
  const { chat, socket, clock } = await opened();
  socket.deliver(refusal(chat.send('//pay'), 'internal'));
  await clock.advance(5_000);
  assert.deepEqual(contents(socket), ['//pay', '//pay']);
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

test('a replay continues from the last position, and shows nothing twice', async () => {
  const world = await opened();
  world.socket.deliver(started(1, 'r1', 'u1', 'Hi'), ...text(2, 'r1', 'Hel'));
  const second = await again(world);
  second.deliver(
    ...text(2, 'r1', 'Hel'),
    event(9, { type: 'TEXT_MESSAGE_CONTENT', messageId: 'r1-a', delta: 'lo wor' }, 'r1'),
  );
  assert.deepEqual(shown(world.chat), [
    ['Hi', 'done'],
    ['Hello wor', 'streaming'],
  ]);
});

test('a snapshot replaces the log, which is shown until the snapshot arrives', async () => {
  const world = await opened();
  world.socket.deliver(started(50, 'r1', 'u1', 'Hi'), ...text(51, 'r1', 'Hel'));
  const second = await again(world, { resume: 'snapshot', reason: 'epoch' });
  assert.equal(shown(world.chat).length, 2);
  second.deliver(
    {
      id: 'other.3.t',
      event: { type: 'MESSAGES_SNAPSHOT', messages: [{ id: 'u9', role: 'user', content: 'Else' }] },
    },
    { id: 'other.3.t', event: { type: 'STATE_SNAPSHOT', snapshot: { a: 1 } } },
  );
  assert.deepEqual(shown(world.chat), [['Else', 'done']]);
  assert.deepEqual(world.chat.getSnapshot().shared, { a: 1 });
  assert.equal(world.chat.getSnapshot().position, 'other.3.t');
  assert.equal(world.chat.getSnapshot().run, null);
});

for (const fields of [
  { resume: 'snapshot', reason: 'lost' },
  { resume: 'snapshot', reason: 'epoch' },
  { resume: 'new' },
]) {
  test(`a conversation that the server lost is dropped with a notice: ${Object.values(fields)}`, async () => {
    const world = await opened();
    world.socket.deliver(started(50, 'r1', 'u1', 'Hi'), ...text(51, 'r1', 'Hel'));
    world.socket.deliver({
      type: 'notice',
      content: 'all that was said',
      level: 'info',
      reply: 'x',
    });
    const id = world.chat.send('on its way');
    world.socket.deliver({
      type: 'accepted',
      reply: id,
      position: 'ep.60.t',
      durability: 'process',
    });
    const second = await again(world, { head: 'other.70.t', ...fields });
    if (fields.resume === 'snapshot')
      second.deliver({ id: 'other.70.t', event: { type: 'MESSAGES_SNAPSHOT', messages: [] } });
    const { notices, position, run } = world.chat.getSnapshot();
    assert.deepEqual(shown(world.chat), [['on its way', 'sending']]);
    assert.deepEqual([position, run], ['other.70.t', null]);
    assert.deepEqual(
      notices.map(({ content, metadata, after }) => [content, metadata?.code, after]),
      [
        [
          'The server no longer has the conversation that was shown here.',
          'conversation_lost',
          null,
        ],
      ],
    );
    assert.deepEqual(second.sentOf('send').length, 1, 'the new log does not have it');
    const third = await again(world, { head: 'other.70.t' });
    assert.equal(third.url.searchParams.get('after'), 'other.70.t');
    assert.equal(world.chat.getSnapshot().notices.length, 1);
  });
}

for (const fields of [{ reason: 'no_position' }, { reason: 'compacted' }, { reason: 'diverged' }]) {
  test(`a snapshot of the same log gives no notice of a loss: ${fields.reason}`, async () => {
    const world = await opened();
    world.socket.deliver(started(50, 'r1', 'u1', 'Hi'));
    const second = await again(world, { resume: 'snapshot', ...fields });
    second.deliver(event(50, { type: 'MESSAGES_SNAPSHOT', messages: [] }));
    assert.deepEqual(world.chat.getSnapshot().notices, []);
  });
}

test('the notice of an unannounced new log comes with its snapshot', async () => {
  const world = await opened();
  world.socket.deliver(started(5, 'r1', 'u1', 'Hi'));
  world.socket.deliver({ id: 'other.6.t', event: { type: 'history.cleared' } });
  await settled();
  world.network.last().welcome({ resume: 'snapshot', reason: 'no_position', head: 'other.6.t' });
  assert.deepEqual(world.chat.getSnapshot().notices, []);
  world.network
    .last()
    .deliver({ id: 'other.6.t', event: { type: 'MESSAGES_SNAPSHOT', messages: [] } });
  assert.equal(world.chat.getSnapshot().notices[0].metadata.code, 'conversation_lost');
});

test('an empty conversation gives no notice of a loss', async () => {
  const world = await opened();
  const second = await again(world, { resume: 'snapshot', reason: 'lost', head: 'other.0.' });
  second.deliver({ id: 'other.0.', event: { type: 'MESSAGES_SNAPSHOT', messages: [] } });
  assert.deepEqual(world.chat.getSnapshot().notices, []);
  assert.equal(world.chat.getSnapshot().position, 'other.0.');
});

test('a snapshot that did not arrive before a drop is requested again', async () => {
  const world = await opened();
  world.socket.deliver(started(5, 'r1', 'u1', 'Hi'));
  await again(world, { resume: 'snapshot' });
  world.network.last().drop();
  await world.clock.advance(1_000);
  assert.equal(world.network.last().url.searchParams.get('after'), null);
});

test('an unannounced event of another log is not folded into this one', async () => {
  const world = await opened();
  world.socket.deliver(started(5, 'r1', 'u1', 'Hi'));
  world.socket.deliver(
    { id: 'other.6.t', event: { type: 'history.cleared' } },
    { id: 'other.7.t', event: { type: 'history.cleared' } },
  );
  await settled();
  assert.equal(world.network.sockets.length, 2);
  assert.equal(world.network.last().url.searchParams.get('after'), null);
  assert.equal(shown(world.chat).length, 1);
});

test('going back to a branch loads the conversation again, once', async () => {
  const world = await opened();
  world.socket.deliver(started(5, 'r1', 'u1', 'Hi'));
  const reply = world.chat.switchTo('b1');
  const [frame] = world.socket.sentOf('switch');
  assert.equal(frame.branch, 'b1');
  const switched = { type: 'history.branched', replaced: 'u1', hidden: [5, 5], reload: true };
  world.socket.deliver({ id: 'ep.6.t', event: switched });
  await settled();
  const second = world.network.last();
  assert.equal(second.url.searchParams.get('after'), null);
  assert.equal(shown(world.chat).length, 1);
  second.welcome({ resume: 'snapshot', reason: 'no_position', head: 'ep.6.t' });
  const messages = [{ role: 'user', id: 'u0', content: 'Hello' }];
  second.deliver({ id: 'ep.6.t', event: { type: 'MESSAGES_SNAPSHOT', messages } });
  assert.deepEqual(second.sentOf('switch'), [frame]);
  second.deliver({ type: 'accepted', reply: frame.id, position: 'ep.6.t', duplicate: true });
  assert.equal((await reply).position, 'ep.6.t');
  second.deliver({ id: 'ep.5.t', event: switched });
  await settled();
  assert.equal(world.network.sockets.length, 2);
  assert.equal(world.chat.getSnapshot().messages[0].id, 'u0');
});

test('edit() and regenerate() send their frames', async () => {
  const { chat, socket } = await opened();
  chat.edit('u1', 'Hello again', { id: 'u2', metadata: { a: 1 } });
  chat.regenerate('u1');
  chat.regenerate();
  assert.deepEqual(socket.sentOf('edit'), [
    {
      type: 'edit',
      id: 'u2',
      message: 'u1',
      content: 'Hello again',
      metadata: { a: 1 },
    },
  ]);
  assert.deepEqual(
    socket.sentOf('regenerate').map(({ message }) => message),
    ['u1', undefined],
  );
});

test('stop() names the run, and is sent again until it is answered', async () => {
  const world = await opened();
  world.socket.deliver(started(1, 'r1', 'u1', 'Hi'));
  const reply = world.chat.stop();
  const [frame] = world.socket.sentOf('cancel');
  assert.equal(frame.run, 'r1');
  const second = await again(world);
  assert.deepEqual(second.sentOf('cancel'), [frame]);
  second.deliver({ type: 'accepted', reply: frame.id, position: 'ep.2.t', durability: 'disk' });
  assert.equal((await reply).position, 'ep.2.t');
});

test('stop() before the run has begun names the message', async () => {
  const { chat, socket } = await opened();
  const id = chat.send('Hi');
  chat.stop();
  assert.equal(socket.sentOf('cancel')[0].message, id);
});

test('stop() sends nothing when there is nothing to stop', async () => {
  const world = await opened();
  world.network.last().drop();
  assert.equal(await world.chat.stop(), null);
  world.chat.send('Hi');
  await world.clock.advance(0);
  world.network.last().welcome({ resume: 'replay' });
  assert.deepEqual(
    world.network.last().sent.map(({ type }) => type),
    ['send'],
  );
});

test('a message that was never sent is withdrawn at once', async () => {
  const world = await opened();
  world.network.last().drop();
  assert.equal(await world.chat.withdraw(world.chat.send('Hi')), null);
  await world.clock.advance(0);
  world.network.last().welcome({ resume: 'replay' });
  assert.deepEqual(world.network.last().sent, []);
  const held = world.chat.send('and this');
  world.network.last().deliver(refusal(held, 'too_many'));
  assert.equal(await world.chat.withdraw(held), null, 'nor what was refused');
});

test('a message that was lost on its way is withdrawn, one whose run has begun is not', async () => {
  for (const begun of [false, true]) {
    const world = await opened();
    const id = world.chat.send('Hi');
    world.network.last().drop();
    const reply = world.chat.withdraw(id);
    await world.clock.advance(0);
    const socket = world.network.last();
    socket.welcome({ resume: 'replay' });
    const [frame] = socket.sentOf('withdraw');
    if (begun) socket.deliver(started(1, 'r1', id, 'Hi'));
    socket.deliver(refusal(frame.id, 'not_found', { retryable: false }));
    if (begun) await assert.rejects(reply, { code: 'not_found' });
    else assert.equal(await reply, null);
  }
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

test("withdraw() removes a message from the outbox and from the server's queue", async () => {
  const { chat, socket } = await opened();
  const id = chat.send('Hi');
  chat.withdraw(id);
  assert.deepEqual(shown(chat), []);
  assert.equal(socket.sentOf('withdraw')[0].message, id);
});

test('a queued message is edited and promoted by frames', async () => {
  const { chat, socket } = await opened();
  chat.editQueued('m1', 'other', { attachments: [] });
  chat.promote('m1');
  assert.deepEqual(
    socket.sent.map(({ id, ...frame }) => frame),
    [
      { type: 'edit_queued', message: 'm1', content: 'other', attachments: [] },
      { type: 'promote', message: 'm1' },
    ],
  );
});

test('presence is asked for once, again after a reconnect, and shown until it is not wanted', async () => {
  const opening = await opened();
  const { chat, socket } = opening;
  const seen = [];
  const end = chat.watchPresence(({ connections }) => seen.push(connections));
  const [{ id, ...frame }] = socket.sent;
  assert.deepEqual(frame, { type: 'presence', watch: true });
  socket.deliver({ type: 'presence', connections: 1, members: [], reply: id });
  socket.deliver({ type: 'presence', connections: 2, members: [{ id: 'ada', connections: 2 }] });
  assert.deepEqual(seen, [1, 2]);
  const next = await again(opening, {});
  assert.deepEqual(
    next.sentOf('presence').map(({ watch }) => watch),
    [true],
  );
  end();
  end();
  assert.deepEqual(
    next.sentOf('presence').map(({ watch }) => watch),
    [true, false],
  );
  next.deliver({ type: 'presence', connections: 9, members: [] });
  assert.deepEqual(seen, [1, 2]);
});

test('an answer, a tool result and a command are sent as frames, and a refusal rejects', async () => {
  const { chat, socket } = await opened();
  const answer = chat.answer('i1', { ok: true });
  chat.toolResult('c1', { content: 'found' });
  chat.command('clear');
  assert.deepEqual(
    socket.sent.map(({ id, ...frame }) => frame),
    [
      { type: 'answer', interrupt: 'i1', status: 'resolved', payload: { ok: true } },
      { type: 'tool_result', toolCallId: 'c1', content: 'found' },
      { type: 'command', name: 'clear' },
    ],
  );
  socket.deliver({
    type: 'error',
    reply: socket.sent[0].id,
    code: 'already_answered',
    message: 'Too late.',
    retryable: false,
  });
  await assert.rejects(
    answer,
    (error) => error instanceof RequestError && error.code === 'already_answered',
  );
});

test('a change of the state is sent as a patch, and again after a reconnect', async () => {
  const world = await opened();
  /** @type {import("../../agentws/web/client.js").Operation[]} */
  const patch = [{ op: 'test', path: '/a', value: 1 }];
  world.chat.patchState(patch);
  world.chat.setState({ a: 2 });
  const patches = (socket) => socket.sentOf('state').map(({ id, patch }) => [id, patch]);
  const sent = patches(world.socket);
  assert.deepEqual(
    sent.map(([, patch]) => patch),
    [patch, [{ op: 'add', path: '', value: { a: 2 } }]],
  );
  assert.deepEqual(patches(await again(world)), sent);
});

test('a tool of the client is called once for each open call, and its result is sent', async () => {
  const { chat, socket } = await opened();
  const seen = [];
  const end = chat.tool('locate', (args) => {
    seen.push(args);
    if (args.fails) throw new Error('no signal');
    return { city: 'Rome' };
  });
  let seq = 0;
  const event = (event, run) => socket.deliver({ id: `ep.${++seq}.t`, run, event });
  const ask = (call, args) => {
    event({ type: 'RUN_STARTED', threadId: 's', runId: call }, call);
    event({ type: 'TOOL_CALL_START', toolCallId: call, toolCallName: 'locate' }, call);
    event({ type: 'TOOL_CALL_ARGS', toolCallId: call, delta: JSON.stringify(args) }, call);
    event({ type: 'TOOL_CALL_END', toolCallId: call }, call);
    const metadata = { agentws: { tool: 'locate' } };
    const asked = { id: call, reason: 'agentws:client_tool', toolCallId: call, metadata };
    const outcome = { type: 'interrupt', interrupts: [asked] };
    event({ type: 'RUN_FINISHED', threadId: 's', runId: call, outcome }, call);
  };
  ask('c1', { exact: true });
  ask('c2', { fails: true });
  await settled();
  end();
  ask('c3', {});
  await settled();
  assert.deepEqual(seen, [{ exact: true }, { fails: true }]);
  assert.deepEqual(
    socket
      .sentOf('tool_result')
      .map(({ id, ...frame }) => frame)
      .sort((left, right) => (left.toolCallId < right.toolCallId ? -1 : 1)),
    [
      { type: 'tool_result', toolCallId: 'c1', content: '{"city":"Rome"}' },
      { type: 'tool_result', toolCallId: 'c2', error: 'no signal' },
    ],
  );
});

test('a result of a tool that is refused is followed by an error, but not one that came late', async () => {
  for (const [code, sent] of [
    ['bad_request', [undefined, 'The result: No.']],
    ['too_large', [undefined, 'The result: No.']],
    ['already_answered', [undefined]],
  ]) {
    const { chat, socket } = await opened();
    chat.tool('locate', () => undefined);
    const metadata = { agentws: { tool: 'locate' } };
    const asked = { id: 'c1', reason: 'agentws:client_tool', toolCallId: 'c1', metadata };
    const outcome = { type: 'interrupt', interrupts: [asked] };
    const start = { type: 'RUN_STARTED', threadId: 's', runId: 'r1' };
    socket.deliver({ id: 'ep.1.t', run: 'r1', event: start });
    socket.deliver({ id: 'ep.2.t', run: 'r1', event: { ...start, type: 'RUN_FINISHED', outcome } });
    await settled();
    const [{ id, content }] = socket.sentOf('tool_result');
    assert.equal(content, 'null');
    socket.deliver({ type: 'error', reply: id, code, message: 'No.', retryable: false });
    await settled();
    assert.deepEqual(
      socket.sentOf('tool_result').map(({ error }) => error),
      sent,
    );
  }
});

test('a command() that may have run is not sent again', async () => {
  const world = await opened();
  const reply = world.chat.command('clear');
  const second = await again(world);
  assert.deepEqual(second.sentOf('command'), []);
  await assert.rejects(reply, { code: 'connection_lost' });
});

test('close() rejects unanswered requests', async () => {
  const { chat } = await opened();
  const reply = chat.answer('i1');
  chat.close();
  await assert.rejects(reply, { code: 'closed' });
});

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
