/** Commands, written as text or called: which of them are sent again. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { again, contents, minute, opened, refusal, shown } from './chats.mjs';

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

test('a command() that may have run is not sent again', async () => {
  const world = await opened();
  const reply = world.chat.command('clear');
  const second = await again(world);
  assert.deepEqual(second.sentOf('command'), []);
  await assert.rejects(reply, { code: 'connection_lost' });
});
