import assert from 'node:assert/strict';
import test from 'node:test';
import { emptyLog, reduce } from '../../agentws/web/client.js';
import { prepend } from '../../agentws/web/reducer.js';
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

test('a run becomes a user message and its answer', () => {
  const log = play(
    accepted('u1', 'Hi'),
    started('r1', user('u1', 'Hi')),
    ...textEvents('a1', 'Hel', 'lo'),
    finished('r1'),
  );
  assert.deepEqual(texts(log), [
    ['user', 'Hi'],
    ['assistant', 'Hello'],
  ]);
  assert.deepEqual(
    log.messages.map(({ status }) => status),
    ['done', 'done'],
  );
  assert.equal(log.run, null);
  assert.equal(log.runs.r1.status, 'finished');
  assert.equal(log.position, 'ep.7.t');
});

test('a message is streaming until its end event', () => {
  const log = play(started('r1', user('u1')), ...textEvents('a1', 'Hel').slice(0, 2));
  assert.equal(log.messages[1].status, 'streaming');
  assert.equal(log.run, 'r1');
});

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

test('a run adds a message that was never accepted in this log', () => {
  assert.deepEqual(texts(play(started('r1', user('u1', 'from another tab')))), [
    ['user', 'from another tab'],
  ]);
});

test('a cancelled run keeps its partial answer, marked as cancelled', () => {
  const log = play(
    started('r1', user('u1')),
    ...textEvents('a1', 'Par'),
    { type: 'run.cancelling' },
    finished('r1', { type: 'cancelled' }),
  );
  assert.equal(log.messages[1].status, 'cancelled');
  assert.equal(log.messages[1].text, 'Par');
  assert.equal(log.runs.r1.status, 'cancelled');
});

test('a run is shown as cancelling before it ends', () => {
  assert.equal(
    play(started('r1', user('u1')), { type: 'run.cancelling' }).runs.r1.status,
    'cancelling',
  );
});

test('a failed run closes what is open, and its last message has the error', () => {
  const log = play(started('r1', user('u1')), ...textEvents('a1', 'Par').slice(0, 2), {
    type: 'RUN_ERROR',
    message: 'Broken.',
    code: 'agent_error',
  });
  assert.equal(log.messages[1].status, 'error');
  assert.deepEqual(log.messages[1].error, { code: 'agent_error', message: 'Broken.' });
  assert.equal(log.runs.r1.status, 'failed');
});

test('a run that fails before it answers puts the error on the user message', () => {
  const log = play(started('r1', user('u1')), { type: 'RUN_ERROR', message: 'Broken.' });
  assert.deepEqual(
    [log.messages[0].status, log.messages[0].error],
    ['error', { message: 'Broken.' }],
  );
});

test('an interrupt is open until it is answered', () => {
  const outcome = {
    type: 'interrupt',
    interrupts: [{ id: 'i1', reason: 'confirmation', message: 'Sure?' }],
  };
  const log = play(started('r1', user('u1')), finished('r1', outcome));
  assert.deepEqual(log.interrupts, [
    { id: 'i1', reason: 'confirmation', message: 'Sure?', run: 'r1' },
  ]);
  assert.equal(log.runs.r1.status, 'interrupted');
  const answered = fold(
    log,
    frames([{ type: 'interrupt.answered', interruptId: 'i1', status: 'resolved' }], { from: 9 }),
  );
  assert.deepEqual(answered.interrupts, []);
  assert.deepEqual(
    answered.answered.map(({ id, answer, after }) => [id, answer, after]),
    [['i1', { status: 'resolved' }, 'u1']],
  );
});

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

test('the progress of a call is kept at the call, that of a run at the run', () => {
  const progress = (value) => ({ type: 'CUSTOM', name: 'agentws.progress', value });
  const log = play(
    started('r1', user('u1')),
    { type: 'TOOL_CALL_START', toolCallId: 'c1', toolCallName: 'pack' },
    progress({ message: 'Packing', done: 1, total: 2, toolCallId: 'c1' }),
    progress({ message: 'Almost there' }),
    progress('no object'),
  );
  const [, { toolCalls }] = log.messages;
  assert.deepEqual(toolCalls[0].progress, { message: 'Packing', done: 1, total: 2 });
  assert.deepEqual(log.runs.r1.progress, { message: 'Almost there' });
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

test('a tool call is updated from its first argument to its result', () => {
  const call = [
    { type: 'TOOL_CALL_START', toolCallId: 'c1', toolCallName: 'look', parentMessageId: 'a1' },
    { type: 'TOOL_CALL_ARGS', toolCallId: 'c1', delta: '{"a"' },
    { type: 'TOOL_CALL_ARGS', toolCallId: 'c1', delta: ':1}' },
    { type: 'TOOL_CALL_END', toolCallId: 'c1' },
  ];
  const log = play(started('r1', user('u1')), ...textEvents('a1', 'Looking.'), ...call);
  assert.deepEqual(log.messages[1].toolCalls, [
    { id: 'c1', name: 'look', args: '{"a":1}', status: 'called' },
  ]);
  const result = { type: 'TOOL_CALL_RESULT', messageId: 't1', toolCallId: 'c1', content: 'found' };
  const done = fold(log, frames([result], { from: 20, run: 'r1' }));
  assert.deepEqual(done.messages[1].toolCalls, [
    { id: 'c1', name: 'look', args: '{"a":1}', status: 'done', result: 'found' },
  ]);
  const failed = fold(
    log,
    frames([{ ...result, metadata: { agentws: { error: 'no such place' } } }], {
      from: 20,
      run: 'r1',
    }),
  );
  assert.equal(failed.messages[1].toolCalls[0].error, 'no such place');
});

for (const [said, status] of [
  ['done', 'done'],
  ['error', 'error'],
  ['denied', 'error'],
  ['stopped', 'cancelled'],
]) {
  test(`a call whose result is ${said} has the status ${status}`, () => {
    const log = play(
      started('r1', user('u1')),
      { type: 'TOOL_CALL_START', toolCallId: 'c1', toolCallName: 'look' },
      { type: 'TOOL_CALL_END', toolCallId: 'c1' },
      {
        type: 'TOOL_CALL_RESULT',
        messageId: 't1',
        toolCallId: 'c1',
        content: 'so',
        metadata: { agentws: { status: said } },
      },
      { type: 'RUN_ERROR', message: 'The agent failed.' },
    );
    const [call] = log.messages.at(-1).toolCalls;
    assert.deepEqual([call.status, call.result], [status, 'so']);
    assert.equal(call.error, status === 'error' ? 'so' : undefined);
  });
}

test('a call without a message gets a new message', () => {
  const log = play(started('r1', user('u1')), {
    type: 'TOOL_CALL_START',
    toolCallId: 'c1',
    toolCallName: 'look',
  });
  assert.equal(log.messages[1].id, 'c1');
  assert.equal(log.messages[1].toolCalls[0].status, 'streaming');
});

test('reasoning is a message of its own role', () => {
  const log = play(
    started('r1', user('u1')),
    { type: 'REASONING_START', messageId: 's1' },
    { type: 'REASONING_MESSAGE_START', messageId: 'm1', role: 'reasoning' },
    { type: 'REASONING_MESSAGE_CONTENT', messageId: 'm1', delta: 'Hmm' },
    { type: 'REASONING_MESSAGE_END', messageId: 'm1' },
    { type: 'REASONING_END', messageId: 's1' },
  );
  assert.deepEqual(texts(log)[1], ['reasoning', 'Hmm']);
});

test('chunks open and continue messages, and the end of the run closes them', () => {
  const log = play(
    started('r1', user('u1')),
    { type: 'TEXT_MESSAGE_CHUNK', messageId: 'a1', delta: 'Hel' },
    { type: 'TEXT_MESSAGE_CHUNK', delta: 'lo' },
    { type: 'TOOL_CALL_CHUNK', toolCallId: 'c1', toolCallName: 'look', delta: '{' },
    { type: 'TOOL_CALL_CHUNK', delta: '}' },
    finished('r1'),
  );
  assert.deepEqual(texts(log)[1], ['assistant', 'Hello']);
  assert.equal(log.messages[1].status, 'done');
  assert.equal(log.messages[2].toolCalls[0].args, '{}');
});

test('state is replaced, patched, and kept when a patch does not fit', () => {
  const patch = (path) => ({ type: 'STATE_DELTA', delta: [{ op: 'replace', path, value: 2 }] });
  const log = play(
    started('r1'),
    { type: 'STATE_SNAPSHOT', snapshot: { a: 1 } },
    patch('/a'),
    patch('/nowhere/b'),
  );
  assert.deepEqual(log.shared, { a: 2 });
});

test('a client changes the state, before any agent has set one and during a run', () => {
  const changed = (path) => ({ type: 'state.changed', patch: [{ op: 'add', path, value: 1 }] });
  const log = play(changed('/a'), started('r1'), changed('/b'), changed('/nowhere/b'));
  assert.deepEqual(log.shared, { a: 1, b: 1 });
});

test('activities are added and patched', () => {
  const log = play(
    started('r1'),
    { type: 'ACTIVITY_SNAPSHOT', messageId: 'x1', activityType: 'plan', content: { steps: [] } },
    {
      type: 'ACTIVITY_DELTA',
      messageId: 'x1',
      activityType: 'plan',
      patch: [{ op: 'add', path: '/steps/-', value: 'one' }],
    },
  );
  assert.deepEqual(log.messages[0].content, { steps: ['one'] });
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

test('metadata of events is merged into their message, and the newest value wins', () => {
  const text = (type, metadata, rest) => ({ type, messageId: 'a1', metadata, ...rest });
  const call = (type, metadata, rest) => ({ type, toolCallId: 'c1', metadata, ...rest });
  const log = play(
    started('r1', user('u1')),
    text('TEXT_MESSAGE_START', { a: 1, last: 1 }),
    text('TEXT_MESSAGE_CONTENT', { b: 2, last: 2 }, { delta: 'x' }),
    text('TEXT_MESSAGE_END', { c: 3, last: 3 }),
    call('TOOL_CALL_START', { a: 1 }, { toolCallName: 'look', parentMessageId: 'a1' }),
    call('TOOL_CALL_ARGS', { b: 2 }, { delta: '{}' }),
    call('TOOL_CALL_END', { c: 3 }),
    finished('r1', { type: 'cancelled' }),
  );
  const { metadata, toolCalls } = log.messages[1];
  assert.deepEqual(metadata, { a: 1, b: 2, c: 3, last: 3, agentws: { status: 'cancelled' } });
  assert.deepEqual(toolCalls[0].metadata, { a: 1, b: 2, c: 3 });
});

test('encrypted values are kept', () => {
  const sealed = (subtype, entityId) => ({
    type: 'REASONING_ENCRYPTED_VALUE',
    subtype,
    entityId,
    encryptedValue: `of ${entityId}`,
  });
  const log = play(
    started('r1', user('u1')),
    { type: 'REASONING_MESSAGE_START', messageId: 'm1', role: 'reasoning' },
    sealed('message', 'm1'),
    { type: 'TOOL_CALL_START', toolCallId: 'c1', toolCallName: 'look' },
    sealed('tool-call', 'c1'),
    { type: 'ACTIVITY_SNAPSHOT', messageId: 'x1', activityType: 'plan', content: {} },
    sealed('message', 'x1'),
  );
  const [, thought, caller, activity] = log.messages;
  assert.equal(thought.encryptedValue, 'of m1');
  assert.equal(caller.toolCalls[0].encryptedValue, 'of c1');
  assert.equal(activity.encryptedValue, undefined);
});

test('a call that a failed run left open is closed, live and in a snapshot', () => {
  const call = (id) => ({ id, type: 'function', function: { name: 'look', arguments: '{}' } });
  const metadata = { agentws: { status: 'cancelled' } };
  const messages = [
    user('u1'),
    { id: 'a1', role: 'assistant', toolCalls: [call('c1')] },
    user('u2'),
    { id: 'a2', role: 'assistant', toolCalls: [call('c2'), call('c3')] },
    { id: 't2', role: 'tool', toolCallId: 'c2', content: 'found' },
    { id: 'a3', role: 'assistant', content: 'Well', metadata },
  ];
  const log = play({ type: 'MESSAGES_SNAPSHOT', messages });
  assert.deepEqual(
    log.messages.flatMap(({ toolCalls = [] }) => toolCalls.map(({ id, status }) => [id, status])),
    [
      ['c1', 'called'],
      ['c2', 'done'],
      ['c3', 'cancelled'],
    ],
  );
});

test('the result of an unknown call is ignored', () => {
  const result = { type: 'TOOL_CALL_RESULT', messageId: 't1', toolCallId: 'c1', content: 'found' };
  assert.deepEqual(texts(play(started('r1', user('u1')), result)), [['user', 'Hello']]);
});

test('a patch without its value changes nothing', () => {
  const delta = [{ op: 'add', path: '/a' }];
  assert.equal(play(started('r1'), { type: 'STATE_DELTA', delta }).shared, undefined);
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

test('a cleared history is empty, and late deltas of a cleared message are ignored', () => {
  const log = play(
    started('r1', user('u1')),
    ...textEvents('a1', 'A').slice(0, 2),
    { type: 'history.cleared' },
    { type: 'TEXT_MESSAGE_CONTENT', messageId: 'a1', delta: 'B' },
  );
  assert.deepEqual(log.messages, []);
  assert.equal(log.run, 'r1');
});

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

test('a durable notice is a message of the conversation', () => {
  const log = play({ type: 'notice.posted', content: 'Ready', level: 'info' });
  assert.deepEqual(
    [log.messages[0].role, log.messages[0].text, log.messages[0].level],
    ['notice', 'Ready', 'info'],
  );
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

test('a run knows the agent that answers and the subagents that it has asked', () => {
  const sub = (type, subagentRunId, rest = {}) => ({ type, subagentRunId, ...rest });
  const log = play(
    { ...started('r1', user('u1')), metadata: { agentws: { agent: 'auto' } } },
    sub('SUBAGENT_STARTED', 's1', { name: 'finder', description: 'Find it' }),
    sub('SUBAGENT_STARTED', 's2', { name: 'reader', parentSubagentRunId: 's1' }),
    { type: 'TEXT_MESSAGE_START', messageId: 'a1', name: 'finder', subagentRunId: 's1' },
    sub('SUBAGENT_ERROR', 's2', { message: 'No.', code: 'agent_error' }),
    sub('SUBAGENT_FINISHED', 's1', { outcome: { type: 'success' } }),
  );
  assert.equal(log.runs.r1.agent, 'auto');
  assert.deepEqual(log.runs.r1.subagents, {
    s1: { name: 'finder', status: 'finished', description: 'Find it' },
    s2: {
      name: 'reader',
      status: 'failed',
      parent: 's1',
      error: { code: 'agent_error', message: 'No.' },
    },
  });
  const { name, subagent } = log.messages[1];
  assert.deepEqual([name, subagent], ['finder', 's1']);
  const chosen = { id: 'ep.20.t', run: 'r1', event: { type: 'agent.chosen', agent: 'billing' } };
  const suspended = sub('SUBAGENT_FINISHED', 's1', { outcome: { type: 'suspended' } });
  const next = fold(log, [chosen, { id: 'ep.21.t', run: 'r1', event: suspended }]);
  assert.equal(next.runs.r1.agent, 'billing');
  assert.equal(next.runs.r1.subagents?.s1.status, 'suspended');
});

test('a session follows its agent', () => {
  assert.equal(play({ type: 'session.updated', agent: 'billing' }).agent, 'billing');
});

test('a title change is applied', () => {
  assert.equal(play({ type: 'session.updated', title: 'Trip' }).title, 'Trip');
});

test("an unknown event type, such as the name of an object's method, only advances the position", () => {
  for (const type of ['FROM_THE_FUTURE', 'toString', 'constructor']) {
    assert.deepEqual(play({ type }), { ...emptyLog, position: 'ep.1.t' });
  }
});

test('the fold mutates neither the log nor the frame', () => {
  const log = deepFreeze(play(started('r1', user('u1')), ...textEvents('a1', 'A').slice(0, 2)));
  fold(
    log,
    frames([{ type: 'TEXT_MESSAGE_CONTENT', messageId: 'a1', delta: 'B' }, finished('r1')], {
      from: 20,
      run: 'r1',
    }),
  );
});

function deepFreeze(value) {
  if (typeof value === 'object' && value !== null)
    Object.values(Object.freeze(value)).forEach(deepFreeze);
  return value;
}
