/**
 * What a person sees of a log and of what is on its way there.
 *
 * @module
 */

/**
 * What of `log` a person sees as one conversation: what was said, then what waits its turn.
 *
 * @param {import('./client.js').Log} log
 * @param {readonly import('./client.js').ChatMessage[]} unsent
 * @returns {readonly import('./client.js').ChatMessage[]}
 */
export function conversation({ messages, queue }, unsent) {
  // Mostly nothing waits; then the list itself goes out, and is the same until it changes.
  if (queue.length === 0 && unsent.length === 0) return messages;
  const known = new Set([...messages, ...queue].map(({ id }) => id));
  return [...messages, ...queue, ...unsent.filter(({ id }) => !known.has(id))];
}

/**
 * @param {import('./client.js').Log} log
 * @param {import('./client.js').ChatMessage[]} unsent
 * @returns {import('./client.js').ChatSnapshot['status']}
 */
export function statusOf({ run, messages, queue }, unsent) {
  if (run !== null) {
    return messages.some((message) => message.run === run && message.role !== 'user')
      ? 'streaming'
      : 'submitted';
  }
  if (queue.length > 0 || unsent.some(({ status }) => status === 'sending')) return 'submitted';
  return (unsent.at(-1) ?? messages.at(-1))?.status === 'error' ? 'error' : 'ready';
}
