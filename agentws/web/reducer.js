/**
 * The meaning of a log: `reduce(log, frame) -> log`, pure, so folding in pieces is folding the whole,
 * and a replay after a drop ends where an unbroken connection would have.
 *
 * An event type that isn't known here only advances the position: old clients survive new servers.
 *
 * @module
 */
import {
  appendText,
  changeCall,
  closeMessage,
  findMessage,
  fromSnapshot,
  join,
  openCall,
  openMessage,
  putBefore,
  replaced,
  restate,
  sealMessage,
  withMetadata,
  withNotices,
} from './messages.js';
import { applyPatch } from './patch.js';
import { parsePosition } from './position.js';
import {
  accepted,
  changeRun,
  dequeue,
  endRun,
  runFinished,
  runStarted,
  withdrawn,
} from './runs.js';
import { callResult, defined, fromWire, noticeMessage } from './wire.js';

/**
 * @typedef {import('./client.js').Log} Log
 * @typedef {import('./client.js').EventFrame} EventFrame
 * @typedef {(log: Log, event: any, frame: EventFrame) => Log} Fold
 */

/** @type {Log} A log of which nothing is known yet. */
export const emptyLog = Object.freeze({
  position: null,
  messages: [],
  queue: [],
  runs: {},
  run: null,
  interrupts: [],
  shared: undefined,
  title: null,
  agent: null,
  earlier: null,
  lane: {},
  restated: false,
});

/**
 * `log` after `frame`. A frame at or before the position that `log` stands at changes nothing, so
 * a frame may come twice.
 *
 * @param {Log} log
 * @param {EventFrame} frame
 * @returns {Log}
 */
export function reduce(log, frame) {
  const here = log.position === null ? -1 : parsePosition(log.position).seq;
  const there = parsePosition(frame.id).seq;
  // What a snapshot consists of shares the one position that it stands for.
  const part = log.restated && frame.run === undefined && there === here;
  if (there <= here && !part) return log;
  const fold = Object.hasOwn(folds, frame.event.type) ? folds[frame.event.type] : undefined;
  const before = part ? log : { ...log, restated: false };
  const next = fold ? fold(before, frame.event, frame) : before;
  return { ...next, position: frame.id };
}

/**
 * `log` with older messages in front, which a snapshot had left out, and what was posted among them.
 * A message of which the log has the end only is made of both parts.
 *
 * @param {Log} log
 * @param {import('./client.js').OlderMessages} page AG-UI messages, and where older ones end
 * @returns {Log}
 */
export function prepend(log, { messages: wire, before, notices = [] }) {
  const page = withNotices(fromSnapshot(wire), notices);
  return { ...log, messages: putBefore(page, log.messages), earlier: before ?? null };
}

/** @type {Record<string, Fold>} */
const folds = {
  TEXT_MESSAGE_START: (log, event, frame) => ({
    ...log,
    messages: openMessage(log.messages, event.messageId, authorship(event, frame)),
  }),
  TEXT_MESSAGE_CONTENT: appended,
  TEXT_MESSAGE_END: closed,
  TEXT_MESSAGE_CHUNK: (log, event, frame) => chunk(log, event, 'text', authorship(event, frame)),

  REASONING_MESSAGE_START: (log, event, frame) => ({
    ...log,
    messages: openMessage(log.messages, event.messageId, thought(event, frame)),
  }),
  REASONING_MESSAGE_CONTENT: appended,
  REASONING_MESSAGE_END: closed,
  REASONING_MESSAGE_CHUNK: (log, event, frame) =>
    chunk(log, event, 'reasoning', thought(event, frame)),

  TOOL_CALL_START: (log, event, frame) => ({
    ...log,
    messages: openCall(log.messages, event, frame.run),
  }),
  TOOL_CALL_ARGS: (log, event) => appendArgs(log, event.toolCallId, event),
  TOOL_CALL_END: (log, event) => ({
    ...log,
    messages: changeCall(log.messages, event.toolCallId, ({ status, metadata }) => ({
      status: status === 'streaming' ? 'called' : status,
      ...withMetadata(metadata, event.metadata),
    })),
  }),
  TOOL_CALL_CHUNK: toolChunk,
  TOOL_CALL_RESULT: (log, event) => ({
    ...log,
    messages: changeCall(log.messages, event.toolCallId, () => callResult(event)),
  }),
  REASONING_ENCRYPTED_VALUE: (log, { subtype, entityId, encryptedValue }) => ({
    ...log,
    messages:
      subtype === 'message'
        ? sealMessage(log.messages, entityId, encryptedValue)
        : changeCall(log.messages, entityId, () => ({ encryptedValue })),
  }),

  MESSAGES_SNAPSHOT: (log, event, frame) =>
    frame.run === undefined
      ? {
          ...log,
          ...openings(event.metadata?.agentws),
          messages: withNotices(
            fromSnapshot(event.messages),
            event.metadata?.agentws?.notices ?? [],
          ),
          restated: true,
        }
      : { ...log, messages: restate(log.messages, event.messages) },
  STATE_SNAPSHOT: (log, event) => ({ ...log, shared: event.snapshot }),
  STATE_DELTA: (log, event) => ({ ...log, shared: patched(log.shared, event.delta) }),
  ACTIVITY_SNAPSHOT: activitySnapshot,
  ACTIVITY_DELTA: activityDelta,

  RUN_STARTED: runStarted,
  RUN_FINISHED: runFinished,
  RUN_ERROR: (log, event, frame) =>
    endRun(log, frame.run, 'error', {
      status: 'failed',
      error: defined({ code: event.code, message: event.message, metadata: event.metadata }),
      ...defined({ usage: event.usage }),
    }),
  STEP_STARTED: (log, event, frame) => changeRun(log, frame.run, { step: event.stepName }),
  STEP_FINISHED: (log, _event, frame) => changeRun(log, frame.run, { step: undefined }),

  'message.accepted': accepted,
  'message.withdrawn': withdrawn,
  'message.steered': (log, event, frame) =>
    event.outcome === 'delivered' ? dequeue(log, event.messageId, frame.run) : log,
  'run.cancelling': (log, _event, frame) =>
    changeRun(log, frame.run ?? log.run ?? undefined, { status: 'cancelling' }),
  'interrupt.answered': (log, event) => ({
    ...log,
    interrupts: log.interrupts.filter(({ id }) => id !== event.interruptId),
  }),
  'notice.posted': (log, event, frame) => ({
    ...log,
    messages: join(log.messages, noticeMessage(frame.id, event)),
  }),
  'history.cleared': (log) => ({
    ...log,
    messages: [],
    earlier: null,
    interrupts: [],
    runs: log.run === null ? {} : { [log.run]: log.runs[log.run] },
  }),
  'session.updated': (log, event) => ({
    ...log,
    ...defined({ title: event.title, agent: event.agent }),
  }),
};

/** @param {any} event @param {EventFrame} frame */
function authorship(event, frame) {
  return {
    role: event.role ?? 'assistant',
    name: event.name,
    run: frame.run,
    subagent: event.subagentRunId,
    metadata: event.metadata,
  };
}

/** @param {any} event @param {EventFrame} frame */
function thought(event, frame) {
  return {
    role: /** @type {const} */ ('reasoning'),
    run: frame.run,
    subagent: event.subagentRunId,
    metadata: event.metadata,
  };
}

/** @type {Fold} */
function appended(log, { messageId, delta, metadata }) {
  return { ...log, messages: appendText(log.messages, messageId, delta, metadata) };
}

/** @type {Fold} */
function closed(log, { messageId, metadata }) {
  return { ...log, messages: closeMessage(log.messages, messageId, metadata) };
}

/** @param {Log} log @param {string} id @param {any} event @returns {Log} */
function appendArgs(log, id, { delta = '', metadata }) {
  const messages = changeCall(log.messages, id, (call) => ({
    args: call.args + delta,
    ...withMetadata(call.metadata, metadata),
  }));
  return { ...log, messages };
}

/**
 * A chunk opens a message by naming it, and continues the last one by not naming any.
 *
 * @param {Log} log
 * @param {any} event
 * @param {'text' | 'reasoning'} lane
 * @param {any} fields
 * @returns {Log}
 */
function chunk(log, event, lane, fields) {
  const id = event.messageId ?? log.lane[lane];
  if (id === undefined) return log;
  const messages =
    event.messageId === undefined ? log.messages : openMessage(log.messages, id, fields);
  return {
    ...log,
    lane: { ...log.lane, [lane]: id },
    messages: appendText(messages, id, event.delta ?? '', event.metadata),
  };
}

/** @type {Fold} */
function toolChunk(log, event, frame) {
  const id = event.toolCallId ?? log.lane.tool;
  if (id === undefined) return log;
  const messages =
    event.toolCallName === undefined
      ? log.messages
      : openCall(log.messages, { ...event, toolCallId: id }, frame.run);
  return appendArgs({ ...log, lane: { ...log.lane, tool: id }, messages }, id, event);
}

/** A patch that doesn't fit leaves the value as it is: an old one is better than a wrong guess.
 * @param {unknown} value @param {any} patch */
function patched(value, patch) {
  try {
    return applyPatch(value ?? {}, patch);
  } catch {
    return value;
  }
}

/** @type {Fold} */
function activitySnapshot(log, event, frame) {
  const known = findMessage(log.messages, event.messageId);
  if (known && event.replace === false) return log;
  const { metadata } = { ...known, ...withMetadata(known?.metadata, event.metadata) };
  const fresh = fromWire({ ...event, id: event.messageId, role: 'activity', metadata });
  if (!known)
    return { ...log, messages: join(log.messages, { ...fresh, ...defined({ run: frame.run }) }) };
  const messages = log.messages.map((one) => (one === known ? replaced(known, fresh) : one));
  return { ...log, messages };
}

/** @type {Fold} */
function activityDelta(log, { messageId, patch, metadata }) {
  const messages = log.messages.map((one) =>
    one.id === messageId
      ? { ...one, ...repainted(one, patch), ...withMetadata(one.metadata, metadata) }
      : one,
  );
  return { ...log, messages };
}

/**
 * @param {import('./client.js').ChatMessage} message
 * @param {any} patch of an activity, whose content stays an object
 */
function repainted({ role, content }, patch) {
  const fresh = role === 'activity' ? patched(content, patch) : null;
  return isObject(fresh) ? { content: fresh } : {};
}

/** @param {unknown} value */
function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What the snapshot of a session says besides its messages. @param {any} [metadata] */
function openings({ before = null, interrupts = [], title = null } = {}) {
  return { earlier: before, interrupts, title };
}
