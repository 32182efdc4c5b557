/** Messages that the server refuses, for now or for good. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { again, contents, minute, opened, refusal, shown } from './chats.mjs';

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
