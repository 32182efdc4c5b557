/** The fold of a log: runs, their messages, state and activities. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { emptyLog } from '../../agentws/web/client.js';
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

test('a patch without its value changes nothing', () => {
  const delta = [{ op: 'add', path: '/a' }];
  assert.equal(play(started('r1'), { type: 'STATE_DELTA', delta }).shared, undefined);
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

test('a durable notice is a message of the conversation', () => {
  const log = play({ type: 'notice.posted', content: 'Ready', level: 'info' });
  assert.deepEqual(
    [log.messages[0].role, log.messages[0].text, log.messages[0].level],
    ['notice', 'Ready', 'info'],
  );
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
