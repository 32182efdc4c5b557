/** The fold of a log: messages that wait, steer or interrupt. */
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

test('an accepted message is in the queue until its run begins', () => {
  const waiting = play(
    started('r1', user('u1', 'one')),
    accepted('u2', 'two'),
    ...textEvents('a1', 'A'),
  );
  assert.deepEqual(texts(waiting), [
    ['user', 'one'],
    ['assistant', 'A'],
  ]);
  assert.deepEqual(
    waiting.queue.map(({ id, status }) => [id, status]),
    [['u2', 'queued']],
  );
  const next = fold(
    waiting,
    frames([finished('r1'), started('r2', user('u2', 'two'))], { from: 20, run: 'r1' }),
  );
  assert.deepEqual(texts(next), [
    ['user', 'one'],
    ['assistant', 'A'],
    ['user', 'two'],
  ]);
  assert.deepEqual(next.queue, []);
  assert.equal(next.messages[2].run, 'r2');
});

test('a message that interrupts goes to the front of the queue', () => {
  const log = play(accepted('u1', 'one'), accepted('u2', 'two', 'interrupt'));
  assert.deepEqual(
    log.queue.map(({ id }) => id),
    ['u2', 'u1'],
  );
});

test('a withdrawn message leaves the queue', () => {
  assert.deepEqual(
    play(accepted('u1'), { type: 'message.withdrawn', messageId: 'u1', reason: 'asked' }).queue,
    [],
  );
});

test('a message that interrupts marks the run as cancelling', () => {
  const going = [started('r1', user('u1', 'go')), accepted('u2', 'other', 'interrupt')];
  assert.equal(play(...going).runs.r1.status, 'cancelling');
  assert.equal(play(...going, finished('r1', { type: 'cancelled' })).runs.r1.status, 'cancelled');
  assert.equal(play(going[0], accepted('u2', 'more')).runs.r1.status, 'running');
  const waiting = [accepted('u1'), accepted('u2', 'other', 'interrupt')];
  assert.equal(play(...waiting, started('r1', user('u2'))).runs.r1.status, 'running');
});

test('a steering message enters the conversation where it is delivered', () => {
  const log = play(started('r1', user('u1', 'go')), accepted('u2', 'left', 'steer'), {
    type: 'message.steered',
    messageId: 'u2',
    outcome: 'delivered',
  });
  assert.deepEqual(texts(log), [
    ['user', 'go'],
    ['user', 'left'],
  ]);
  assert.deepEqual(log.queue, []);
});

const ids = (log) => log.queue.map(({ id, overlap }) => `${id} ${overlap}`);

test('a steering message waits at the front for its run, then for one of its own', () => {
  const going = [started('r1', user('u1')), accepted('u2'), accepted('s1', 'x', 'steer')];
  const log = [...going, accepted('s2', 'y', 'steer')];
  assert.deepEqual(ids(play(...log)), ['s1 steer', 's2 steer', 'u2 queue']);
  const ended = ['s1 queue', 's2 queue', 'u2 queue'];
  assert.deepEqual(ids(play(...log, finished('r1'))), ended);
  const outcome = { type: 'message.steered', outcome: 'undelivered', reason: 'finished' };
  const known = [...log, finished('r1'), { ...outcome, messageId: 's1' }];
  assert.deepEqual(ids(play(...known)), ended);
});

test('a message that no run can take waits behind the others', () => {
  const outcome = { type: 'message.steered', outcome: 'undelivered', messageId: 's1' };
  const steer = [accepted('s1', 'x', 'steer'), outcome];
  const last = ['u2 queue', 's1 queue'];
  assert.deepEqual(ids(play(accepted('u2'), ...steer)), last);
  const going = [started('r1', user('u1')), accepted('u2')];
  assert.deepEqual(ids(play(...going, ...steer)), last);
  assert.deepEqual(ids(play(...going, { type: 'run.cancelling' }, ...steer)), last);
});

test('a queued message is edited in its place, and promoted to the front', () => {
  const edit = (id) => ({ type: 'message.edited', message: user(id, 'edited') });
  const promote = (messageId) => ({ type: 'message.promoted', messageId });
  const log = play(accepted('u1'), accepted('u2'), edit('u1'), promote('u2'), edit('u9'));
  assert.deepEqual(ids(log), ['u2 queue', 'u1 queue']);
  assert.deepEqual([log.queue[1].text, log.queue[1].status], ['edited', 'queued']);
  assert.deepEqual(ids(play(accepted('u1'), promote('u9'))), ['u1 queue']);
  assert.equal(
    play(accepted('u1'), edit('u1'), started('r1', user('u1'))).messages[0].text,
    'edited',
  );
});
