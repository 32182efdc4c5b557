/**
 * The history: the messages of a snapshot, of a page of older ones, and of a snapshot inside a run. Pure.
 *
 * A tool message of the wire becomes the `result` of the call that it answers.
 *
 * @module
 */
import {
  addMessage,
  changeCall,
  endCall,
  findCall,
  findMessage,
  withMetadata,
} from './messages.js';
import { callResult, defined, endOf, fromWire, noticeMessage } from './wire.js';

/**
 * @typedef {import('./client.js').ChatMessage} ChatMessage
 * @typedef {import('./client.js').ToolCall} ToolCall
 * @typedef {readonly ChatMessage[]} Messages
 */

/**
 * Converts AG-UI messages to chat messages.
 *
 * @param {readonly any[]} wire @returns {Messages}
 */
export function fromSnapshot(wire) {
  /** @type {Messages} */
  let messages = [];
  for (const message of wire) {
    const answered = message.role === 'tool' && findCall(messages, message.toolCallId);
    messages = answered
      ? changeCall(messages, message.toolCallId, () => callResult(message), message.metadata)
      : addMessage(messages, fromWire(message));
  }
  return withEndedCalls(messages);
}

/**
 * Closes the open calls of runs that failed or were cancelled: no result will come. A snapshot does not say
 * where a run began, so everything back to the last user message counts as part of it.
 *
 * @param {Messages} messages @returns {Messages}
 */
function withEndedCalls(messages) {
  /** @type {'cancelled' | 'error' | undefined} */
  let status;
  const ended = messages.slice();
  for (let index = ended.length - 1; index >= 0; index--) {
    const { role, metadata, toolCalls } = ended[index];
    status = role === 'user' ? undefined : (endOf(metadata)?.status ?? status);
    const end = status;
    if (end && toolCalls)
      ended[index] = { ...ended[index], toolCalls: toolCalls.map((call) => endCall(call, end)) };
  }
  return ended;
}

/**
 * Puts an older page in front of `messages`. A message on both appears once. One that is too large for a page
 * is on each with a part of its text and calls; the parts are joined.
 *
 * @param {Messages} page @param {Messages} messages @returns {Messages}
 */
export function prependPage(page, messages) {
  const ends = new Map(messages.filter(isCut).map((message) => [message.id, message]));
  const older = page.flatMap((message) => {
    const end = ends.get(message.id);
    if (end) return [joined(message, end)];
    return findMessage(messages, message.id) ? [] : [message];
  });
  const begun = new Set(page.filter(({ id }) => ends.has(id)).map(({ id }) => id));
  // How a run ended is said on its last page.
  return withEndedCalls([...older, ...messages.filter(({ id }) => !begun.has(id))]);
}

/** Whether an older page has the beginning of this message. @param {ChatMessage} message */
function isCut({ metadata }) {
  return endOf(metadata)?.cut === true;
}

/** @param {ChatMessage} older the part before @param {ChatMessage} newer @returns {ChatMessage} */
function joined(older, newer) {
  const { agentws, ...rest } = /** @type {any} */ (newer.metadata);
  const { cut: _, ...own } = agentws;
  const mark = isCut(older) ? { ...own, cut: true } : own;
  const { metadata: __, ...message } = newer;
  const metadata = Object.keys(mark).length > 0 ? { ...rest, agentws: mark } : rest;
  return {
    ...message,
    text: older.text + newer.text,
    ...defined({ toolCalls: joinedCalls(older.toolCalls, newer.toolCalls) }),
    ...withMetadata(undefined, metadata),
  };
}

/**
 * @param {ToolCall[] | undefined} older @param {ToolCall[] | undefined} newer
 * @returns {ToolCall[] | undefined}
 */
function joinedCalls(older, newer) {
  if (!older || !newer) return older ?? newer;
  const ends = new Map(newer.map((call) => [call.id, call]));
  const begun = new Set(older.map(({ id }) => id));
  const whole = older.map((call) => {
    const end = ends.get(call.id);
    return end ? { ...call, ...end, args: call.args + end.args } : call;
  });
  return [...whole, ...newer.filter(({ id }) => !begun.has(id))];
}

/**
 * The messages of a snapshot with its notices, each behind the message after which it was posted.
 *
 * @param {Messages} messages @param {readonly any[]} notices @returns {Messages}
 */
export function withNotices(messages, notices) {
  if (notices.length === 0) return messages;
  const known = new Set(messages.map(({ id }) => id));
  const after = (/** @type {string | undefined} */ id) =>
    notices
      .filter((notice) => (known.has(notice.after) ? notice.after : undefined) === id)
      .map((notice) => noticeMessage(notice.position, notice));
  return [...after(undefined), ...messages.flatMap((message) => [message, ...after(message.id)])];
}

/**
 * A snapshot inside a run replaces what it names and removes what it omits. Activities and reasoning stay
 * unless it has some of its own, since an agent's history seldom holds them.
 *
 * @param {Messages} messages @param {readonly any[]} wire @returns {Messages}
 */
export function applySnapshot(messages, wire) {
  const fresh = new Map(fromSnapshot(wire).map((message) => [message.id, message]));
  const rolesInIt = new Set([...fresh.values()].map(({ role }) => role));
  const kept = messages.filter(
    ({ id, role }) => fresh.has(id) || staysWhenOmitted(role, rolesInIt),
  );
  const updated = kept.map((message) => {
    const replacement = fresh.get(message.id);
    fresh.delete(message.id);
    return replacement ? replaced(message, replacement) : message;
  });
  return [...updated, ...fresh.values()];
}

/**
 * AG-UI replaces a message as a whole; its run stays, and so does its status while it is streaming.
 *
 * @param {ChatMessage} known @param {ChatMessage} fresh @returns {ChatMessage}
 */
export function replaced({ run, status }, fresh) {
  return {
    ...fresh,
    ...defined({ run }),
    status: status === 'streaming' ? status : fresh.status,
  };
}

/** @param {string} role @param {Set<string>} rolesInIt */
function staysWhenOmitted(role, rolesInIt) {
  return (
    role === 'notice' || ((role === 'activity' || role === 'reasoning') && !rolesInIt.has(role))
  );
}
