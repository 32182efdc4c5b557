/**
 * The conversation as a flat list of items with keys. Pure: `snapshot -> items`.
 *
 * @module
 */
import { canBranch } from './branches.js';
import { grouped } from './groups.js';
import { progressText } from './progress.js';

/**
 * @typedef {import('../client.js').ChatSnapshot} ChatSnapshot
 * @typedef {import('../client.js').ChatMessage} ChatMessage
 * @typedef {{key: string, kind: string, [field: string]: any}} Item
 */

/** @type {Record<string, string>} the view for a message, by its role */
const KINDS = {
  user: 'user',
  assistant: 'assistant',
  reasoning: 'reasoning',
  activity: 'activity',
  notice: 'notice',
  tool: 'orphan',
};

/**
 * @param {ChatSnapshot} snapshot
 * @param {Map<string, string | null>} asked what was typed, by the `reply` of its answer; null hides the answer
 * @returns {Item[]}
 */
export function itemsOf(snapshot, asked) {
  const known = new Set(snapshot.messages.map(({ id }) => id));
  const notices = byMessage(
    snapshot.notices.filter(({ reply }) => !reply || asked.get(reply) !== null),
    known,
  );
  const noticesAfter = (/** @type {string | null} */ id) =>
    (notices.get(id) ?? []).map((/** @type {any} */ notice) => noticeItem(notice, asked));
  const items = noticesAfter(null);
  const lastAsked = snapshot.messages.findLast(({ role }) => role === 'user');
  const idle = canBranch(snapshot);
  let past = true;
  for (const message of snapshot.messages) {
    past &&= message !== lastAsked;
    items.push(
      ...messageItems(message, snapshot, past).map((item) => withIdle(item, idle, past)),
      ...answeredItems(snapshot, message.id),
      ...noticesAfter(message.id),
    );
  }
  return ordered(grouped(items, snapshot), snapshot);
}

/**
 * Whether a message can be edited, or an answer made again: only the last one can.
 * @param {Item} item @param {boolean} idle @param {boolean} past
 */
function withIdle(item, idle, past) {
  if (item.kind === 'user') return { ...item, idle };
  return item.kind === 'assistant' ? { ...item, idle: idle && !past } : item;
}

/**
 * Groups notices by the message before them. Those after a message that is not shown (cleared, or on an older
 * page) come first.
 *
 * @param {readonly import('../client.js').Notice[]} notices
 * @param {Set<string>} known
 */
function byMessage(notices, known) {
  const groups = new Map();
  for (const notice of notices) {
    const place = known.has(notice.after ?? '') ? notice.after : null;
    groups.set(place, [...(groups.get(place) ?? []), notice]);
  }
  return groups;
}

/**
 * The open questions. An approval of a call that is shown is on the card of that call.
 * @param {ChatSnapshot} snapshot
 * @returns {Item[]}
 */
function questionItems({ interrupts, messages }) {
  const calls = new Set(messages.flatMap(({ toolCalls = [] }) => toolCalls.map(({ id }) => id)));
  return interrupts
    .filter(({ reason, toolCallId = '' }) => reason !== 'tool_call' || !calls.has(toolCallId))
    .map((interrupt) => ({ key: interrupt.id, kind: 'question', interrupt }));
}

/**
 * The questions that were answered after a message. The card of a call says what became of its approval.
 * @param {ChatSnapshot} snapshot
 * @param {string} id
 * @returns {Item[]}
 */
function answeredItems({ answered, identity }, id) {
  return answered
    .filter(({ after, toolCallId }) => after === id && toolCallId === undefined)
    .map((question) => ({
      key: `${question.id}:answered:${question.run}`,
      kind: 'answered',
      question,
      who: identity,
    }));
}

/**
 * Puts what is not sent yet below the active run.
 * @param {Item[]} items
 * @param {ChatSnapshot} snapshot
 */
function ordered(items, snapshot) {
  const shown = items.filter((item) => !item.waiting);
  const waiting = items.filter((item) => item.waiting);
  const questions = questionItems(snapshot);
  const working = workingItem(snapshot);
  const next = snapshot.run === null ? waiting : [];
  return [
    ...shown,
    ...questions,
    ...next,
    ...working,
    ...waiting.filter((item) => !next.includes(item)),
  ];
}

/**
 * @param {ChatMessage} message
 * @param {ChatSnapshot} snapshot
 * @param {boolean} past whether a later user message exists
 * @returns {Item[]}
 */
function messageItems(message, { run, connection, interrupts, answered, identity }, past) {
  const isFile = message.activityType === 'agentws.file';
  const kind = isFile ? 'file' : KINDS[message.role];
  if (!kind) return [];
  const waiting = message.status === 'queued' || message.status === 'sending';
  const unsent = message.status === 'sending' && connection !== 'open';
  // During a run, what waits is listed by `queue.js`.
  if (waiting && !unsent && run !== null) return [];
  /** @type {Item[]} */
  const items = [
    { key: message.id, kind, message, waiting, unsent, queued: waiting && run !== null },
  ];
  if (message.toolCalls) Object.assign(items[0], { interrupts, answered, who: identity });
  if (message.error) items.push({ key: `${message.id}:error`, kind: 'error', message, past });
  else if (message.status === 'cancelled')
    items.push({ key: `${message.id}:stopped`, kind: 'stopped' });
  return items;
}

/**
 * @param {import('../client.js').Notice} notice
 * @param {Map<string, string | null>} asked
 * @returns {Item}
 */
function noticeItem(notice, asked) {
  const command = notice.metadata?.command;
  if (!command)
    return { key: notice.key, kind: 'notice', message: { ...notice, text: notice.content } };
  return {
    key: notice.key,
    kind: 'command',
    notice,
    typed: asked.get(notice.reply ?? '') ?? `/${command}`,
  };
}

/**
 * @param {ChatSnapshot} snapshot
 * @returns {Item[]} the indicator of a run that writes nothing at the moment
 */
function workingItem({ run, runs, messages, queue }) {
  if (run === null)
    return queue.length > 0 ? [{ key: 'working', kind: 'working', label: 'Thinking' }] : [];
  const { status, progress, step = progress ? progressText(progress) : 'Thinking' } = runs[run];
  const writing = messages.some((message) => message.run === run && message.status === 'streaming');
  if (writing && status === 'running') return [];
  return [{ key: 'working', kind: 'working', label: status === 'cancelling' ? 'Stopping' : step }];
}

/** @param {any} left @param {any} right items, whose parts are immutable */
export function same(left, right) {
  return Object.keys(right).every((name) => left[name] === right[name]);
}
