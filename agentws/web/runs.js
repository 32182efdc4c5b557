/**
 * The part of the fold that is about runs: the queue before a run, its beginning, its end. Pure.
 *
 * @module
 */
import { addMessage, changeMessage, endMessages, findMessage } from './messages.js';
import { defined, fromWire } from './wire.js';

/**
 * @typedef {import('./client.js').Log} Log
 * @typedef {import('./client.js').Run} Run
 * @typedef {import('./client.js').EventFrame} EventFrame
 * @typedef {(log: Log, event: any, frame: EventFrame) => Log} Fold
 */

/** @type {Fold} */
export function accepted(log, event) {
  const { message, overlap } = event;
  const { queue, run, runs } = log;
  if (findMessage(log.messages, message.id) || findMessage(queue, message.id)) return log;
  const missed = overlap === 'steer' && (run === null || runs[run]?.status === 'cancelling');
  const queued = {
    ...fromWire(message),
    status: /** @type {const} */ ('queued'),
    overlap: missed ? 'queue' : overlap,
  };
  if (overlap === 'interrupt') return cancelling({ ...log, queue: [queued, ...queue] });
  const at = queued.overlap === 'steer' ? queue.findLastIndex(steers) + 1 : queue.length;
  return { ...log, queue: [...queue.slice(0, at), queued, ...queue.slice(at)] };
}

/** @param {import('./client.js').ChatMessage} message */
const steers = ({ overlap }) => overlap === 'steer';

/** @type {Fold} */
export function steered(log, { messageId, outcome }, { run }) {
  const one = findMessage(log.queue, messageId);
  if (!one || !steers(one)) return log;
  if (outcome === 'delivered') return dequeue(log, messageId, run);
  const others = log.queue.filter((other) => other !== one);
  return { ...log, queue: [...others, { ...one, overlap: 'queue' }] };
}

/** @type {Fold} */
export function edited(log, { message }) {
  return changeQueue(log, (one) => {
    const { status, overlap } = one;
    return one.id === message.id ? { ...fromWire(message), status, overlap } : one;
  });
}

/** @type {Fold} */
export function promoted(log, { messageId }) {
  const one = findMessage(log.queue, messageId);
  return one ? { ...log, queue: [one, ...log.queue.filter((other) => other !== one)] } : log;
}

/** @param {Log} log @param {(message: import('./client.js').ChatMessage) => any} change */
function changeQueue(log, change) {
  return { ...log, queue: log.queue.map(change) };
}

/** @type {Fold} */
export function withdrawn(log, { messageId }) {
  return { ...log, queue: log.queue.filter(({ id }) => id !== messageId) };
}

/** @param {Log} log @param {string} [run] the active one by default @returns {Log} */
export function cancelling(log, run = log.run ?? undefined) {
  return changeRun(log, run, { status: 'cancelling' });
}

/** How many answered questions are kept. */
const ANSWERED = 50;

/** @type {Fold} */
export function answered(log, { interruptId, status, payload, by, metadata }) {
  const asked = log.interrupts.find(({ id }) => id === interruptId);
  if (!asked) return log;
  const answer = defined({ status, payload, by, expired: metadata?.agentws?.expired });
  const one = { ...asked, answer, after: log.messages.at(-1)?.id ?? null };
  return {
    ...log,
    interrupts: log.interrupts.filter((other) => other !== asked),
    answered: [...log.answered, one].slice(-ANSWERED),
  };
}

/**
 * Moves a message from the queue to the conversation.
 * @param {Log} log
 * @param {string} id
 * @param {string | undefined} run
 * @returns {Log}
 */
export function dequeue(log, id, run) {
  const waiting = findMessage(log.queue, id);
  if (!waiting) return log;
  const { overlap, ...message } = waiting;
  return {
    ...log,
    queue: log.queue.filter((one) => one !== waiting),
    messages: addMessage(log.messages, { ...message, status: 'done', ...defined({ run }) }),
  };
}

/** @type {Fold} */
export function runStarted(log, event, frame) {
  const id = frame.run ?? event.runId;
  const asked = event.input?.messages ?? [];
  const begun = asked.reduce((/** @type {Log} */ before, /** @type {any} */ message) => {
    const { messages, ...rest } = dequeue(before, message.id, id);
    return { ...rest, messages: ask(messages, message, id) };
  }, log);
  const answered = new Set(
    (event.input?.resume ?? []).map((/** @type {any} */ entry) => entry.interruptId),
  );
  /** @type {Run} */
  const run = {
    id,
    status: 'running',
    ...defined({ message: asked[0]?.id, agent: event.metadata?.agentws?.agent }),
  };
  return {
    ...begun,
    lane: {},
    run: id,
    runs: { ...begun.runs, [id]: run },
    interrupts: begun.interrupts.filter(
      (/** @type {import('./client.js').Interrupt} */ interrupt) => !answered.has(interrupt.id),
    ),
  };
}

/**
 * Adds the message that a run answers, and marks it as part of that run.
 *
 * @param {Log['messages']} messages @param {any} message @param {string} run
 */
function ask(messages, message, run) {
  return findMessage(messages, message.id)
    ? changeMessage(messages, message.id, () => ({ run }))
    : addMessage(messages, { ...fromWire(message), run });
}

/** @type {Fold} */
export function runFinished(log, event, frame) {
  const usage = defined({ usage: event.usage });
  const outcome = event.outcome?.type ?? 'success';
  if (outcome === 'cancelled')
    return endRun(log, frame.run, 'cancelled', { status: 'cancelled', ...usage });
  if (outcome !== 'interrupt')
    return endRun(log, frame.run, 'done', { status: 'finished', ...usage });
  const ended = endRun(log, frame.run, 'done', { status: 'interrupted', ...usage });
  const open = event.outcome.interrupts.map((/** @type {any} */ interrupt) => ({
    ...interrupt,
    run: frame.run,
  }));
  // A snapshot may have brought an interrupt whose run is replayed after it.
  const known = new Set(open.map((/** @type {any} */ { id }) => id));
  const others = ended.interrupts.filter(({ id }) => !known.has(id));
  return { ...ended, interrupts: [...others, ...open] };
}

/**
 * @param {Log} log
 * @param {string | undefined} id
 * @param {'done' | 'cancelled' | 'error'} status
 * @param {Partial<Run>} end
 * @returns {Log}
 */
export function endRun(log, id, status, end) {
  const run = id ?? log.run ?? undefined;
  if (run === undefined) return log;
  /** @type {Log['runs']} with this run, whose beginning a snapshot may have left out */
  const runs = { [run]: { id: run, status: 'running' }, ...log.runs };
  const waiting = changeQueue(log, (one) => (steers(one) ? { ...one, overlap: 'queue' } : one));
  const ended = changeRun({ ...waiting, runs }, run, { step: undefined, ...end });
  return {
    ...ended,
    lane: {},
    run: log.run === run ? null : log.run,
    messages: endMessages(log.messages, run, status, end.error),
  };
}

/** @param {Log} log @param {string | undefined} id @param {Partial<Run>} change @returns {Log} */
export function changeRun(log, id, change) {
  if (id === undefined || !Object.hasOwn(log.runs, id)) return log;
  return { ...log, runs: { ...log.runs, [id]: defined({ ...log.runs[id], ...change }) } };
}

/**
 * @param {Log} log
 * @param {string | undefined} run
 * @param {string} id
 * @param {Partial<import('./client.js').Subagent>} change
 */
export function changeSubagent(log, run, id, change) {
  const known = log.runs[run ?? '']?.subagents;
  const changed = /** @type {import('./client.js').Subagent} */ ({ ...known?.[id], ...change });
  return changeRun(log, run, { subagents: { ...known, [id]: changed } });
}
