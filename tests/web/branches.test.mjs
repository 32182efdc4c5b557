/** The fold of a log: branches of the conversation, and another attempt. */
import assert from 'node:assert/strict';
import test from 'node:test';
import {
  frames,
  fold,
  play,
  user,
  accepted,
  started,
  finished,
  textEvents,
  texts,
} from './logs.mjs';

const branched = (replaced, messageId, more) => ({
  type: 'history.branched',
  replaced,
  messageId,
  left: 'b1',
  branch: 'b2',
  branches: ['b1', 'b2'],
  hidden: [3, 6],
  ...more,
});

test('a branch removes the message that was replaced and all after it', () => {
  const log = play(
    started('r1', user('u1')),
    finished('r1'),
    started('r2', user('u2', 'two')),
    ...textEvents('a2', 'A'),
    finished('r2'),
    branched('u2', 'u3'),
    accepted('u3', 'three'),
  );
  assert.deepEqual(
    log.messages.map(({ id }) => id),
    ['u1'],
  );
  assert.deepEqual(
    log.queue.map(({ id }) => id),
    ['u3'],
  );
});

test('an answer that is written again does not double the question', () => {
  const again = user('u1');
  again.metadata = { agentws: { branches: { current: 1, ids: ['b1', 'b2'] } } };
  const log = play(
    started('r1', user('u1')),
    ...textEvents('a1', 'A'),
    finished('r1'),
    branched('u1', 'u1'),
    { type: 'message.accepted', message: again, overlap: 'queue' },
    started('r2', again),
    ...textEvents('a2', 'B'),
    finished('r2'),
  );
  assert.deepEqual(texts(log).slice(1), [['assistant', 'B']]);
  assert.deepEqual(log.messages[0].metadata, again.metadata);
  assert.deepEqual(log.queue, []);
});

test('another attempt after a lost run replaces its text, before what waits', () => {
  const attempt = { number: 2, first: 'r1', after: 'r1', start: 3, began: 0 };
  const lost = play(
    accepted('u1', 'one'),
    accepted('u2', 'two'),
    started('r1', user('u1', 'one')),
    ...textEvents('a1', 'half of').slice(0, 2),
    { type: 'TEXT_MESSAGE_END', messageId: 'a1' },
    {
      type: 'RUN_ERROR',
      code: 'interrupted',
      message: 'The answer was interrupted.',
      metadata: { agentws: { retryable: true, nextAttempt: 2 } },
    },
    branched('u1', 'u1'),
    { ...accepted('u1', 'one'), attempt },
    { type: 'message.promoted', messageId: 'u1' },
  );
  assert.deepEqual(lost.messages, []);
  assert.deepEqual(
    lost.queue.map(({ id }) => id),
    ['u1', 'u2'],
  );
  const log = fold(
    lost,
    frames([started('r2', user('u1', 'one')), ...textEvents('a2', 'whole'), finished('r2')], {
      from: 20,
      run: 'r2',
    }),
  );
  assert.deepEqual(texts(log), [
    ['user', 'one'],
    ['assistant', 'whole'],
  ]);
  assert.equal(log.messages[1].status, 'done');
  assert.deepEqual(
    log.queue.map(({ id }) => id),
    ['u2'],
  );
});

test('a branch of an older message than those that are loaded removes all of them', () => {
  const snapshot = { type: 'MESSAGES_SNAPSHOT', messages: [user('u5')] };
  assert.deepEqual(play(snapshot, branched('u2', 'u9')).messages, []);
});

test('a branch closes the questions that it takes out of view, and keeps later notices', () => {
  const asked = [{ id: 'q1' }, { id: 'q2' }];
  const snapshot = {
    type: 'MESSAGES_SNAPSHOT',
    messages: [user('u1'), user('u2')],
    metadata: { agentws: { interrupts: asked } },
  };
  const notice = (content) => ({ type: 'notice.posted', content, level: 'info' });
  const log = play(
    snapshot,
    notice('before'),
    notice('after'),
    branched('u2', 'u3', { hidden: [1, 2], interrupts: ['q1'] }),
  );
  assert.deepEqual(log.interrupts, [{ id: 'q2' }]);
  assert.deepEqual(
    log.messages.map(({ id, text, role }) => (role === 'notice' ? text : id)),
    ['u1', 'after'],
  );
});

test('a message that failed without an answer still names its branches', () => {
  const asked = user('u1');
  asked.metadata = { agentws: { branches: { current: 0, ids: ['b1', 'b2'] } } };
  const log = play(started('r1', asked), { type: 'RUN_ERROR', message: 'It failed.' });
  const { agentws } = log.messages[0].metadata;
  assert.equal(agentws.status, 'error');
  assert.deepEqual(agentws.branches.ids, ['b1', 'b2']);
});
