/**
 * The fold of the log: `reduce(log, frame) -> log`, a pure projection of its events. Folding in pieces equals
 * folding the whole, so a replay after a reconnect ends with what an unbroken connection would have shown.
 *
 * An unknown event type only advances the position, so that old clients work with new servers.
 *
 * @module
 */
import { applySnapshot, fromSnapshot, prependPage, replaced, withNotices } from './history.js';
import {
  addMessage,
  appendText,
  changeCall,
  changeMessage,
  closeMessage,
  cutAt,
  findMessage,
  openCall,
  openMessage,
  setEncryptedValue,
  withMetadata,
} from './messages.js';
import { applyPatch, isObject } from './patch.js';
import { parsePosition } from './position.js';
import {
  accepted,
  answered,
  cancelling,
  changeRun,
  changeSubagent,
  edited,
  endRun,
  promoted,
  runFinished,
  runStarted,
  steered,
  withdrawn,
} from './runs.js';
import { callResult, defined, fromWire, noticeMessage } from './wire.js';

/**
 * @typedef {import('./client.js').Log} Log
 * @typedef {import('./client.js').EventFrame} EventFrame
 * @typedef {(log: Log, event: any, frame: EventFrame) => Log} Fold
 * @typedef {(messages: Log['messages'], event: any, frame: EventFrame) => Log['messages']} FoldMessages
 */

/** @type {Log} The log before its first event. */
export const emptyLog = Object.freeze({
  position: null,
  messages: [],
  queue: [],
  runs: {},
  run: null,
  interrupts: [],
  answered: [],
  shared: undefined,
  title: null,
  agent: null,
  earlier: null,
  lane: {},
  restated: false,
});

/**
 * `log` after `frame`. A frame at or before the log's position changes nothing, so a frame may arrive twice.
 *
 * @param {Log} log
 * @param {EventFrame} frame
 * @returns {Log}
 */
export function reduce(log, frame) {
  const here = log.position === null ? -1 : parsePosition(log.position).seq;
  const there = parsePosition(frame.id).seq;
  // The frames of one snapshot share its position.
  const part = log.restated && frame.run === undefined && there === here;
  if (there <= here && !part) return log;
  const fold = Object.hasOwn(folds, frame.event.type) ? folds[frame.event.type] : undefined;
  const before = part ? log : { ...log, restated: false };
  const next = fold ? fold(before, frame.event, frame) : before;
  return { ...next, position: frame.id };
}

/**
 * `log` with a page of older messages and notices in front.
 *
 * @param {Log} log
 * @param {import('./client.js').OlderMessages} page
 * @returns {Log}
 */
export function prepend(log, { messages: wire, before, notices = [], answered = [] }) {
  const page = withNotices(fromSnapshot(wire), notices);
  return {
    ...log,
    messages: prependPage(page, log.messages),
    answered: [...answered, ...log.answered],
    earlier: before ?? null,
  };
}

/** @type {FoldMessages} */
const append = (messages, { messageId, delta, metadata }) =>
  appendText(messages, messageId, delta, metadata);
/** @type {FoldMessages} */
const close = (messages, { messageId, metadata }) => closeMessage(messages, messageId, metadata);

/** @type {Record<string, Fold>} by the type of the event */
const folds = {
  TEXT_MESSAGE_START: onMessages((messages, event, frame) =>
    openMessage(messages, event.messageId, textFields(event, frame)),
  ),
  TEXT_MESSAGE_CONTENT: onMessages(append),
  TEXT_MESSAGE_END: onMessages(close),
  TEXT_MESSAGE_CHUNK: (log, event, frame) => chunk(log, event, 'text', textFields(event, frame)),

  REASONING_MESSAGE_START: onMessages((messages, event, frame) =>
    openMessage(messages, event.messageId, reasoningFields(event, frame)),
  ),
  REASONING_MESSAGE_CONTENT: onMessages(append),
  REASONING_MESSAGE_END: onMessages(close),
  REASONING_MESSAGE_CHUNK: (log, event, frame) =>
    chunk(log, event, 'reasoning', reasoningFields(event, frame)),

  TOOL_CALL_START: onMessages((messages, event, frame) => openCall(messages, event, frame.run)),
  TOOL_CALL_ARGS: onMessages((messages, event) => appendArgs(messages, event.toolCallId, event)),
  TOOL_CALL_END: onMessages((messages, event) =>
    changeCall(
      messages,
      event.toolCallId,
      ({ status }) => ({ status: status === 'streaming' ? 'called' : status }),
      event.metadata,
    ),
  ),
  TOOL_CALL_CHUNK: toolChunk,
  TOOL_CALL_RESULT: onMessages((messages, event) =>
    changeCall(messages, event.toolCallId, () => callResult(event), event.metadata),
  ),
  REASONING_ENCRYPTED_VALUE: onMessages((messages, { subtype, entityId, encryptedValue }) =>
    subtype === 'message'
      ? setEncryptedValue(messages, entityId, encryptedValue)
      : changeCall(messages, entityId, () => ({ encryptedValue })),
  ),

  MESSAGES_SNAPSHOT: messagesSnapshot,
  STATE_SNAPSHOT: (log, event) => ({ ...log, shared: event.snapshot }),
  STATE_DELTA: (log, event) => ({ ...log, shared: patched(log.shared, event.delta) }),
  ACTIVITY_SNAPSHOT: onMessages(activitySnapshot),
  ACTIVITY_DELTA: onMessages((messages, { messageId, patch, metadata }) =>
    changeMessage(messages, messageId, (message) => patchedActivity(message, patch), metadata),
  ),

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

  SUBAGENT_STARTED: (log, event, frame) =>
    changeSubagent(log, frame.run, event.subagentRunId, {
      name: event.name,
      status: 'running',
      ...defined({ description: event.description, parent: event.parentSubagentRunId }),
    }),
  SUBAGENT_FINISHED: (log, event, frame) =>
    changeSubagent(log, frame.run, event.subagentRunId, {
      status: event.outcome?.type === 'suspended' ? 'suspended' : 'finished',
    }),
  SUBAGENT_ERROR: (log, event, frame) =>
    changeSubagent(log, frame.run, event.subagentRunId, {
      status: 'failed',
      error: defined({ code: event.code, message: event.message }),
    }),
  'agent.chosen': (log, { agent }, frame) => changeRun(log, frame.run, { agent }),

  'message.accepted': accepted,
  'message.withdrawn': withdrawn,
  'message.steered': steered,
  'message.edited': edited,
  'message.promoted': promoted,
  'run.cancelling': (log, _event, frame) => cancelling(log, frame.run),
  'interrupt.answered': answered,
  CUSTOM: (log, { name, value }, { run }) =>
    name === 'agentws.progress' && isObject(value) ? progressed(log, value, run) : log,
  'state.changed': (log, event) => ({ ...log, shared: patched(log.shared, event.patch) }),
  'notice.posted': onMessages((messages, event, frame) =>
    addMessage(messages, noticeMessage(frame.id, event)),
  ),
  'history.cleared': (log) => ({
    ...log,
    messages: [],
    earlier: null,
    interrupts: [],
    answered: [],
    runs: log.run === null ? {} : { [log.run]: log.runs[log.run] },
  }),
  'history.branched': (log, event) => ({
    ...log,
    messages: cutAt(log.messages, event),
    interrupts: log.interrupts.filter(({ id }) => !event.interrupts?.includes(id)),
  }),
  'session.updated': (log, event) => ({
    ...log,
    ...defined({ title: event.title, agent: event.agent }),
  }),
};

/** @param {FoldMessages} fold @returns {Fold} */
function onMessages(fold) {
  return (log, event, frame) => ({ ...log, messages: fold(log.messages, event, frame) });
}

/** @param {Log} log @param {any} value @param {string} [run] @returns {Log} */
function progressed(log, { toolCallId, ...progress }, run) {
  if (toolCallId === undefined) return changeRun(log, run, { progress });
  return { ...log, messages: changeCall(log.messages, toolCallId, () => ({ progress })) };
}

/** @param {any} event @param {EventFrame} frame */
function textFields(event, frame) {
  return { ...ownFields(event, frame), role: event.role ?? 'assistant', name: event.name };
}

/** @param {any} event @param {EventFrame} frame */
function reasoningFields(event, frame) {
  return { ...ownFields(event, frame), role: /** @type {const} */ ('reasoning') };
}

/** @param {any} event @param {EventFrame} frame */
function ownFields({ subagentRunId: subagent, metadata }, { run }) {
  return { run, subagent, metadata };
}

/** @param {Log['messages']} messages @param {string} id @param {any} event */
function appendArgs(messages, id, { delta = '', metadata }) {
  return changeCall(messages, id, ({ args }) => ({ args: args + delta }), metadata);
}

/**
 * A chunk with an id opens that message; one without continues the last one of its kind.
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
  return { ...log, lane: { ...log.lane, tool: id }, messages: appendArgs(messages, id, event) };
}

/** @type {Fold} */
function messagesSnapshot(log, { messages, metadata }, frame) {
  if (frame.run !== undefined) return { ...log, messages: applySnapshot(log.messages, messages) };
  // What the snapshot of a session says besides its messages.
  const {
    before = null,
    interrupts = [],
    answered = [],
    title = null,
    notices = [],
  } = metadata?.agentws ?? {};
  return {
    ...log,
    earlier: before,
    interrupts,
    answered,
    title,
    messages: withNotices(fromSnapshot(messages), notices),
    restated: true,
  };
}

/** @type {FoldMessages} */
function activitySnapshot(messages, event, frame) {
  const known = findMessage(messages, event.messageId);
  if (known && event.replace === false) return messages;
  const { metadata } = { ...known, ...withMetadata(known?.metadata, event.metadata) };
  const fresh = fromWire({ ...event, id: event.messageId, role: 'activity', metadata });
  return known
    ? messages.map((one) => (one === known ? replaced(known, fresh) : one))
    : addMessage(messages, { ...fresh, ...defined({ run: frame.run }) });
}

/**
 * Applies a patch to an activity, whose content stays an object.
 *
 * @param {import('./client.js').ChatMessage} message
 * @param {any} patch
 */
function patchedActivity({ role, content }, patch) {
  const fresh = role === 'activity' ? patched(content, patch) : null;
  return isObject(fresh) ? { content: fresh } : {};
}

/**
 * A patch that does not fit leaves the value as it is: an old value is better than a wrong one.
 *
 * @param {unknown} value @param {any} patch
 */
function patched(value, patch) {
  try {
    return applyPatch(value ?? {}, patch);
  } catch {
    return value;
  }
}
