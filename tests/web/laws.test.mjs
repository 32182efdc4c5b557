/** Laws of the fold, tested on random logs. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { emptyLog } from '../../agentws/web/client.js';
import { seeded } from './fakes.mjs';
import { frames, fold, user, accepted, started, finished, textEvents } from './logs.mjs';

function randomLog(random) {
  const pick = (list) => list[Math.floor(random() * list.length)];
  const events = [];
  for (let turn = 1; turn <= 4; turn++) {
    const question = user(`u${turn}`, `question ${turn}`);
    events.push(accepted(question.id, question.content, pick(['queue', 'queue', 'interrupt'])));
    if (random() < 0.2) {
      events.push({ type: 'message.withdrawn', messageId: question.id, reason: 'asked' });
      continue;
    }
    events.push(started(`r${turn}`, question), ...randomRun(turn, random, pick));
  }
  return frames(events);
}

function randomRun(turn, random, pick) {
  const words = (messageId) =>
    Array.from({ length: 1 + Math.floor(random() * 5) }, (_, n) => ({
      type: 'TEXT_MESSAGE_CONTENT',
      messageId,
      delta: `w${n} `,
    }));
  const parts = {
    text: (n) => [
      { type: 'TEXT_MESSAGE_START', messageId: `a${turn}-${n}` },
      ...words(`a${turn}-${n}`),
      { type: 'TEXT_MESSAGE_END', messageId: `a${turn}-${n}` },
    ],
    call: (n) => [
      { type: 'TOOL_CALL_START', toolCallId: `c${turn}-${n}`, toolCallName: 'look' },
      { type: 'TOOL_CALL_ARGS', toolCallId: `c${turn}-${n}`, delta: '{' },
      { type: 'TOOL_CALL_ARGS', toolCallId: `c${turn}-${n}`, delta: '}' },
      { type: 'TOOL_CALL_END', toolCallId: `c${turn}-${n}` },
      {
        type: 'TOOL_CALL_RESULT',
        messageId: `t${turn}-${n}`,
        toolCallId: `c${turn}-${n}`,
        content: 'found',
      },
    ],
    state: (n) => [{ type: 'STATE_DELTA', delta: [{ op: 'add', path: `/k${n}`, value: turn }] }],
    shared: (n) => [{ type: 'state.changed', patch: [{ op: 'add', path: `/s${n}`, value: turn }] }],
    notice: () => [{ type: 'notice.posted', content: 'Ready', level: 'info' }],
    step: () => [
      { type: 'STEP_STARTED', stepName: 'think' },
      { type: 'STEP_FINISHED', stepName: 'think' },
    ],
  };
  const body = Array.from({ length: 1 + Math.floor(random() * 4) }, (_, n) =>
    parts[pick(Object.keys(parts))](n),
  ).flat();
  const end = pick([
    finished(`r${turn}`),
    finished(`r${turn}`, { type: 'cancelled' }),
    { type: 'RUN_ERROR', message: 'Broken.' },
    finished(`r${turn}`, {
      type: 'interrupt',
      interrupts: [{ id: `i${turn}`, reason: 'confirmation' }],
    }),
  ]);
  return [...body, end];
}

/** Merges adjacent deltas of one message, as a replay may; the merged frame has the position of the last. */
function merged(list) {
  const out = [];
  for (const frame of list) {
    const last = out.at(-1);
    const { type, messageId, toolCallId, delta } = frame.event;
    const same =
      last &&
      last.event.type === type &&
      typeof delta === 'string' &&
      last.event.messageId === messageId &&
      last.event.toolCallId === toolCallId;
    if (same)
      out[out.length - 1] = {
        ...frame,
        event: { ...frame.event, delta: last.event.delta + delta },
      };
    else out.push(frame);
  }
  return out;
}

for (let seed = 1; seed <= 60; seed++) {
  test(`folding in parts, twice or from a snapshot gives the same log (seed ${seed})`, () => {
    const random = seeded(seed);
    const log = randomLog(random);
    const whole = fold(emptyLog, log);
    assert.deepEqual(
      whole.messages.filter(({ status }) => status === 'streaming'),
      [],
      'ended runs leave nothing open',
    );
    for (let cut = 0; cut <= log.length; cut++) {
      const piece = fold(emptyLog, log.slice(0, cut));
      assert.deepEqual(fold(piece, log.slice(cut)), whole, 'in parts');
      assert.deepEqual(fold(piece, merged(log.slice(cut))), whole, 'a replay with merged deltas');
      const overlap = Math.max(0, cut - Math.floor(random() * 6));
      assert.deepEqual(fold(piece, log.slice(overlap)), whole, 'overlapping frames');
    }
  });
}
