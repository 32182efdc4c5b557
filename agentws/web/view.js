/**
 * The snapshot that a page renders, made from the log, the outbox and the connection. Pure.
 *
 * @module
 */
import { emptyLog } from './reducer.js';

/**
 * @typedef {import('./client.js').Log} Log
 * @typedef {import('./client.js').ChatMessage} ChatMessage
 * @typedef {import('./client.js').ChatSnapshot} ChatSnapshot
 * @typedef {object} Parts
 * @property {Log} log
 * @property {Pick<ChatSnapshot, 'connection' | 'attempt' | 'retryAt' | 'error'>} connection
 * @property {Record<string, any>} welcome the last one; empty before the first
 * @property {string | null} session
 * @property {readonly ChatMessage[]} unsent
 * @property {ChatSnapshot['notices']} notices
 */

/** @param {Parts} parts @returns {ChatSnapshot} */
export function snapshotOf({ log, connection, welcome, session, unsent, notices }) {
  const { lane, restated, ...shown } = log;
  const { agent, agents = [], overlaps = {}, identity = null, limits = null } = welcome;
  return Object.freeze({
    ...shown,
    ...connection,
    status: statusOf(log, unsent),
    session,
    messages: conversation(log, unsent),
    notices,
    agent: log.agent ?? agent ?? null,
    agents,
    overlaps,
    identity,
    limits,
  });
}

/** The snapshot before anything has happened; also what a server renders. */
export const idleSnapshot = snapshotOf({
  log: emptyLog,
  connection: { connection: 'closed', attempt: 0, retryAt: null, error: null },
  welcome: {},
  session: null,
  unsent: [],
  notices: [],
});

/** @param {Log} log @returns {Set<string>} the ids of the messages in it, those in the queue included */
export function idsOf({ messages, queue }) {
  return new Set([...messages, ...queue].map(({ id }) => id));
}

/**
 * The conversation, then the queue, then what is unsent.
 *
 * @param {Log} log
 * @param {readonly ChatMessage[]} unsent
 * @returns {readonly ChatMessage[]}
 */
function conversation(log, unsent) {
  const { messages, queue } = log;
  // The common case returns the log's own list, so that its identity changes only with its content.
  if (queue.length === 0 && unsent.length === 0) return messages;
  const known = idsOf(log);
  return [...messages, ...queue, ...unsent.filter(({ id }) => !known.has(id))];
}

/**
 * @param {Log} log
 * @param {readonly ChatMessage[]} unsent
 * @returns {ChatSnapshot['status']}
 */
function statusOf({ run, messages, queue }, unsent) {
  if (run !== null) {
    return messages.some((message) => message.run === run && message.role !== 'user')
      ? 'streaming'
      : 'submitted';
  }
  if (queue.length > 0 || unsent.some(({ status }) => status === 'sending')) return 'submitted';
  return (unsent.at(-1) ?? messages.at(-1))?.status === 'error' ? 'error' : 'ready';
}
