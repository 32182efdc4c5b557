/** Builds logs for tests. */
import { emptyLog, reduce } from '../../agentws/web/client.js';

/**
 * Numbered event frames of events; `run` is the active run.
 *
 * @param {any[]} events @param {{from?: number, run?: string}} [options]
 */
export function frames(events, { from = 1, run: current } = {}) {
  return events.map((event, index) => {
    if (event.type === 'RUN_STARTED') current = event.runId;
    const run = /^[A-Z]/.test(event.type) || event.type.startsWith('run.') ? current : undefined;
    if (event.type === 'RUN_FINISHED' || event.type === 'RUN_ERROR') current = undefined;
    return { id: `ep.${from + index}.t`, ...(run && { run }), event };
  });
}

export const fold = (log, list) => list.reduce(reduce, log);
export const play = (...events) => fold(emptyLog, frames(events));
export const user = (id, content = 'Hello') => ({ id, role: 'user', content });
export const accepted = (id, content, overlap = 'queue') => ({
  type: 'message.accepted',
  message: user(id, content),
  overlap,
});
export const started = (runId, message) => ({
  type: 'RUN_STARTED',
  threadId: 'ses_1',
  runId,
  input: { threadId: 'ses_1', runId, messages: message ? [message] : [], tools: [], context: [] },
});
export const finished = (runId, outcome) => ({
  type: 'RUN_FINISHED',
  threadId: 'ses_1',
  runId,
  ...(outcome && { outcome }),
});
export const textEvents = (messageId, ...deltas) => [
  { type: 'TEXT_MESSAGE_START', messageId, role: 'assistant' },
  ...deltas.map((delta) => ({ type: 'TEXT_MESSAGE_CONTENT', messageId, delta })),
  { type: 'TEXT_MESSAGE_END', messageId },
];
export const texts = ({ messages }) => messages.map(({ role, text }) => [role, text]);
