/**
 * What the conversation shows, as a flat list of items with keys. Pure: `snapshot -> items`.
 *
 * @module
 */

/**
 * @typedef {import('../client.js').ChatSnapshot} ChatSnapshot
 * @typedef {import('../client.js').ChatMessage} ChatMessage
 * @typedef {{key: string, kind: string, [field: string]: any}} Item
 */

/** @type {Record<string, string>} which view shows a message of a role */
const KINDS = {
  user: 'user', assistant: 'assistant', reasoning: 'reasoning', activity: 'activity', notice: 'notice', tool: 'orphan',
};

/** @param {ChatSnapshot} snapshot @param {Set<string>} hidden replies that nobody asked to see @returns {Item[]} */
export function itemsOf(snapshot, hidden) {
  const notices = byPlace(snapshot.notices.filter(({ reply }) => !reply || !hidden.has(reply)));
  const items = noticeItems(notices.get(null));
  for (const message of snapshot.messages) {
    items.push(...messageItems(message, snapshot), ...noticeItems(notices.get(message.id)));
  }
  return [...orderUnsent(items), ...tail(snapshot)];
}

/** @param {readonly import('../client.js').Notice[]} notices */
function byPlace(notices) {
  const groups = new Map();
  for (const notice of notices) groups.set(notice.after, [...(groups.get(notice.after) ?? []), notice]);
  return groups;
}

/** What is not said yet stands under what was, notices included. @param {Item[]} items */
function orderUnsent(items) {
  const waiting = (/** @type {Item} */ item) => item.kind === 'user' && item.waiting;
  return [...items.filter((item) => !waiting(item)), ...items.filter(waiting)];
}

/** @param {ChatMessage} message @param {ChatSnapshot} snapshot @returns {Item[]} */
function messageItems(message, { run }) {
  const kind = KINDS[message.role];
  if (!kind) return [];
  const waiting = message.status === 'queued' || message.status === 'sending';
  /** @type {Item[]} */
  const items = [{ key: message.id, kind, message, waiting, queued: waiting && run !== null }];
  if (message.error) items.push({ key: `${message.id}:error`, kind: 'error', message });
  else if (message.status === 'cancelled') items.push({ key: `${message.id}:stopped`, kind: 'stopped' });
  return items;
}

/** @param {readonly import('../client.js').Notice[] | undefined} notices @returns {Item[]} */
function noticeItems(notices = []) {
  return notices.map((notice) => ({ key: notice.key, kind: notice.metadata?.command ? 'command' : 'notice', message: { ...notice, text: notice.content }, notice }));
}

/** @param {ChatSnapshot} snapshot @returns {Item[]} */
function tail({ interrupts, run, runs, messages }) {
  const questions = interrupts.map((interrupt) => ({ key: interrupt.id, kind: 'question', interrupt }));
  const active = run === null ? undefined : runs[run];
  const writing = messages.some(({ run: of, status, role }) => of === run && status === 'streaming' && role !== 'user');
  if (!active || (writing && active.status === 'running')) return questions;
  const label = active.status === 'cancelling' ? 'Stopping' : (active.step ?? 'Thinking');
  return [...questions, { key: 'working', kind: 'working', label }];
}
