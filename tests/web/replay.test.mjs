/** What a connection brings: a replay, a snapshot, another log. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { again, event, opened, shown, started, text } from './chats.mjs';
import { settled } from './fakes.mjs';

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
