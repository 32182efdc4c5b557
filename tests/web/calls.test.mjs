/** The fold of a log: calls of tools, and their results. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { frames, fold, play, user, started, textEvents, texts } from './logs.mjs';

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
