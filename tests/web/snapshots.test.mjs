/** The fold of a log: snapshots, and pages of older messages. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { emptyLog, reduce } from '../../agentws/web/client.js';
import { prepend } from '../../agentws/web/reducer.js';
import { play, user, accepted, started, finished, textEvents, texts } from './logs.mjs';

test('a snapshot and a page of older messages bring the questions that were answered', () => {
  const question = (id, after) => ({
    id,
    reason: 'input_required',
    message: 'Which?',
    run: 'r1',
    after,
    answer: { status: /** @type {const} */ ('resolved'), payload: 'this' },
  });
  const log = play({
    type: 'MESSAGES_SNAPSHOT',
    messages: [user('u2')],
    metadata: { agentws: { before: 4, answered: [question('i2', 'u2')] } },
  });
  assert.deepEqual(log.answered, [question('i2', 'u2')]);
  const older = prepend(log, { messages: [user('u1')], answered: [question('i1', 'u1')] });
  assert.deepEqual(
    older.answered.map(({ id }) => id),
    ['i1', 'i2'],
  );
});

test('the calls of a run are over on each of its pages', () => {
  const call = (id) => ({
    id: `m${id}`,
    role: 'assistant',
    toolCalls: [{ id, type: 'function', function: { name: 'look', arguments: '{}' } }],
  });
  for (const status of ['error', 'cancelled']) {
    const metadata = { agentws: { status, message: 'Gone.' } };
    const all = [
      user('u1'),
      call('c0'),
      user('u2'),
      call('c1'),
      call('c2'),
      { id: 'a', role: 'assistant', content: 'No', metadata },
    ];
    const shown = (messages, before = null) =>
      reduce(emptyLog, {
        id: 'ep.1.t',
        event: { type: 'MESSAGES_SNAPSHOT', messages, metadata: { agentws: { before } } },
      });
    const calls = ({ messages }) =>
      messages.flatMap(({ toolCalls = [] }) => toolCalls.map((one) => one.status));
    assert.deepEqual(calls(shown(all)), ['called', status, status]);
    for (let at = 1; at < all.length; at++)
      assert.deepEqual(calls(prepend(shown(all.slice(at), 7), { messages: all.slice(0, at) })), [
        'called',
        status,
        status,
      ]);
  }
});

test('an interrupt in a snapshot and in its replayed run appears once', () => {
  const interrupts = [{ id: 'i1', reason: 'confirmation' }];
  const snapshot = {
    type: 'MESSAGES_SNAPSHOT',
    messages: [],
    metadata: { agentws: { interrupts } },
  };
  const log = play(snapshot, started('r1'), finished('r1', { type: 'interrupt', interrupts }));
  assert.deepEqual(
    log.interrupts.map(({ id }) => id),
    ['i1'],
  );
});

test('the snapshot of a session replaces everything', () => {
  const messages = [
    user('u1', 'Hi'),
    {
      id: 'a1',
      role: 'assistant',
      content: 'Look',
      toolCalls: [{ id: 'c1', type: 'function', function: { name: 'look', arguments: '{}' } }],
    },
    { id: 't1', role: 'tool', toolCallId: 'c1', content: 'found' },
    {
      id: 'a2',
      role: 'assistant',
      content: 'Bro',
      metadata: {
        agentws: { status: 'error', code: 'interrupted', message: 'The server went away.' },
      },
    },
  ];
  const log = play({ type: 'MESSAGES_SNAPSHOT', messages });
  assert.deepEqual(texts(log), [
    ['user', 'Hi'],
    ['assistant', 'Look'],
    ['assistant', 'Bro'],
  ]);
  assert.deepEqual(log.messages[1].toolCalls, [
    { id: 'c1', name: 'look', args: '{}', status: 'done', result: 'found' },
  ]);
  assert.deepEqual(log.messages[2].error, {
    code: 'interrupted',
    message: 'The server went away.',
  });
});

test('all frames of a snapshot are applied, although they share one position', () => {
  const at = (seq, event) => ({ id: `ep.${seq}.`, event });
  const metadata = { agentws: { before: 3, interrupts: [{ id: 'i1', reason: 'confirmation' }] } };
  const log = [
    at(7, { type: 'MESSAGES_SNAPSHOT', messages: [user('u1')], metadata }),
    at(7, { type: 'STATE_SNAPSHOT', snapshot: { a: 1 } }),
    at(7, accepted('u2')),
    at(8, accepted('u3')),
    at(8, accepted('u4')),
    at(7, accepted('u5')),
  ].reduce(reduce, emptyLog);
  assert.deepEqual([log.messages.length, log.shared, log.earlier], [1, { a: 1 }, 3]);
  assert.deepEqual(
    log.interrupts.map(({ id }) => id),
    ['i1'],
  );
  assert.deepEqual(
    log.queue.map(({ id }) => id),
    ['u2', 'u3'],
    'after it a position holds one event',
  );
});

test('a snapshot inside a run removes what it omits, except reasoning', () => {
  const log = play(
    started('r1', user('u1', 'Hi')),
    { type: 'REASONING_MESSAGE_START', messageId: 'm1', role: 'reasoning' },
    ...textEvents('a1', 'Old'),
    {
      type: 'MESSAGES_SNAPSHOT',
      messages: [user('u1', 'Hi'), { id: 'a2', role: 'assistant', content: 'New' }],
    },
  );
  assert.deepEqual(
    log.messages.map(({ id }) => id),
    ['u1', 'm1', 'a2'],
  );
});

test('a message in a snapshot inside a run is replaced as a whole, and continues to stream', () => {
  const restated = { id: 'a1', role: 'assistant', content: 'New ' };
  const log = play(
    started('r1', user('u1', 'Hi')),
    { type: 'TEXT_MESSAGE_START', messageId: 'a1', name: 'Ann', metadata: { old: 1 } },
    { type: 'TOOL_CALL_START', toolCallId: 'c1', toolCallName: 'look', parentMessageId: 'a1' },
    { type: 'MESSAGES_SNAPSHOT', messages: [restated] },
    { type: 'TEXT_MESSAGE_CONTENT', messageId: 'a1', delta: 'words' },
  );
  assert.deepEqual(log.messages, [
    { id: 'a1', role: 'assistant', text: 'New words', status: 'streaming', run: 'r1' },
  ]);
});

test('a snapshot has the title of the session', () => {
  const called = {
    type: 'MESSAGES_SNAPSHOT',
    messages: [],
    metadata: { agentws: { title: 'Trip' } },
  };
  assert.equal(play(called).title, 'Trip');
});

test('a cleared history has no older messages', () => {
  const metadata = { agentws: { before: 40 } };
  const snapshot = { type: 'MESSAGES_SNAPSHOT', messages: [user('u1')], metadata };
  assert.equal(play(snapshot, { type: 'history.cleared' }).earlier, null);
});

test('a snapshot has notices in the same places as the live log', () => {
  const posted = { content: 'Ready', level: 'warning', metadata: { href: '/7' } };
  const notices = [
    { position: 'ep.1.t', ...posted },
    { position: 'ep.4.t', ...posted, after: 'u1' },
    { position: 'ep.5.t', content: 'Again', level: 'info', after: 'u1' },
    { position: 'ep.9.t', content: 'Late', level: 'info', after: 'gone' },
  ];
  const messages = [user('u1'), user('u2')];
  const log = play({ type: 'MESSAGES_SNAPSHOT', messages, metadata: { agentws: { notices } } });
  assert.deepEqual(
    log.messages.map(({ id }) => id),
    ['ep.1.t', 'ep.9.t', 'u1', 'ep.4.t', 'ep.5.t', 'u2'],
  );
  const [live] = play({ type: 'notice.posted', ...posted }).messages;
  assert.deepEqual(log.messages[0], live);
});
