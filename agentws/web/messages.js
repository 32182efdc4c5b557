/**
 * The list of messages that a log stands for, and every change an event can make to it. Pure.
 *
 * A tool message of the wire becomes the `result` of the call it answers, so a reader has one place
 * to look at. A message keeps the `run` that made it, which is how a run's end finds what it ends.
 *
 * @module
 */

import { callResult, defined, endOf, fromWire, noticeMessage } from './wire.js';

/**
 * @typedef {import('./client.js').ChatMessage} ChatMessage
 * @typedef {import('./client.js').ToolCall} ToolCall
 * @typedef {readonly ChatMessage[]} Messages
 */

/**
 * @param {Messages} messages
 * @param {string} id
 * @returns {number} the newest first: that is where deltas go
 */
function indexOf(messages, id) {
  for (let index = messages.length - 1; index >= 0; index--) {
    if (messages[index].id === id) return index;
  }
  return -1;
}

/** @param {Messages} messages @param {string} id @returns {ChatMessage | undefined} */
export function findMessage(messages, id) {
  return messages[indexOf(messages, id)];
}

/**
 * @param {Messages} messages
 * @param {number} index
 * @param {Partial<ChatMessage>} change
 * @returns {Messages}
 */
function changeAt(messages, index, change) {
  const copy = messages.slice();
  copy[index] = { ...messages[index], ...change };
  return copy;
}

/**
 * @param {Messages} messages
 * @param {string} id
 * @param {(message: ChatMessage) => Partial<ChatMessage>} change
 * @returns {Messages}
 */
function changeMessage(messages, id, change) {
  const index = indexOf(messages, id);
  return index < 0 ? messages : changeAt(messages, index, change(messages[index]));
}

/**
 * Opens the message `id`, or opens it again: a known id is continued, never doubled.
 *
 * @param {Messages} messages
 * @param {string} id
 * @param {Partial<ChatMessage>} fields
 * @returns {Messages}
 */
export function openMessage(messages, id, fields) {
  if (indexOf(messages, id) >= 0)
    return changeMessage(messages, id, ({ metadata }) => ({
      status: 'streaming',
      ...withMetadata(metadata, fields.metadata),
    }));
  return [
    ...messages,
    { id, role: 'assistant', text: '', ...defined(fields), status: 'streaming' },
  ];
}

/**
 * What comes of a message that is gone (a cleared history) finds no place, so an unknown id is no error.
 * What holds something else than a text can't go on with one.
 *
 * @param {Messages} messages @param {string} id @param {string} delta
 * @param {import('./client.js').Metadata} [metadata] @returns {Messages}
 */
export function appendText(messages, id, delta, metadata) {
  return changeMessage(messages, id, (message) => ({
    ...(message.content === undefined && message.role !== 'tool' && { text: message.text + delta }),
    ...withMetadata(message.metadata, metadata),
  }));
}

/**
 * @param {Messages} messages @param {string} id
 * @param {import('./client.js').Metadata} [metadata] @returns {Messages}
 */
export function closeMessage(messages, id, metadata) {
  return changeMessage(messages, id, (message) => {
    const added = withMetadata(message.metadata, metadata);
    return { ...added, status: closedStatus({ ...message, ...added }) };
  });
}

/**
 * What had ended badly before it was opened again is still marked so.
 *
 * @param {ChatMessage} message @returns {ChatMessage['status']}
 */
function closedStatus({ status, metadata }) {
  return status === 'streaming' ? (endOf(metadata)?.status ?? 'done') : status;
}

/**
 * Keeps what only its provider can read.
 *
 * @param {Messages} messages @param {string} id @param {string} encryptedValue @returns {Messages}
 */
export function sealMessage(messages, id, encryptedValue) {
  return changeMessage(messages, id, ({ role }) => (role === 'activity' ? {} : { encryptedValue }));
}

/**
 * What events say beside their own members is their message's or call's, the newest first.
 *
 * @param {import('./client.js').Metadata | undefined} known
 * @param {import('./client.js').Metadata | undefined} added
 */
export function withMetadata(known, added) {
  return added && Object.keys(added).length > 0 ? { metadata: { ...known, ...added } } : {};
}

/**
 * @param {Messages} messages
 * @param {ChatMessage} message
 * @returns {Messages} `message` joins unless it is there
 */
export function join(messages, message) {
  return indexOf(messages, message.id) >= 0 ? messages : [...messages, message];
}

/**
 * A call belongs to the assistant message that it names; without one it gets a message of its own.
 * A known call goes on where it is.
 *
 * @param {Messages} messages
 * @param {any} event a TOOL_CALL_START, or a chunk that begins a call
 * @param {string | undefined} run
 * @returns {Messages}
 */
export function openCall(messages, event, run) {
  const { toolCallId: id, toolCallName: name, parentMessageId, metadata } = event;
  if (findCall(messages, id))
    return changeCall(messages, id, (call) => withMetadata(call.metadata, metadata));
  const host = parentMessageId ?? id;
  const known = findMessage(messages, host);
  if (known && known.role !== 'assistant') return messages;
  const hosted = known ? messages : [...messages, bareMessage(host, run, event.subagentRunId)];
  /** @type {ToolCall} */
  const call = { id, name, args: '', status: 'streaming', ...withMetadata(undefined, metadata) };
  return changeMessage(hosted, host, (message) => ({
    toolCalls: [...(message.toolCalls ?? []), call],
  }));
}

/**
 * @param {string} id @param {string | undefined} run @param {string | undefined} subagent
 * @returns {ChatMessage}
 */
function bareMessage(id, run, subagent) {
  return { id, role: 'assistant', text: '', status: 'done', ...defined({ run, subagent }) };
}

/** @param {Messages} messages @param {string} id @returns {ToolCall | undefined} */
export function findCall(messages, id) {
  for (let index = messages.length - 1; index >= 0; index--) {
    const call = messages[index].toolCalls?.find((one) => one.id === id);
    if (call) return call;
  }
  return undefined;
}

/**
 * @param {Messages} messages
 * @param {string} id
 * @param {(call: ToolCall) => Partial<ToolCall>} change
 * @returns {Messages}
 */
export function changeCall(messages, id, change) {
  for (let index = messages.length - 1; index >= 0; index--) {
    const calls = messages[index].toolCalls;
    if (!calls?.some((call) => call.id === id)) continue;
    const toolCalls = calls.map((call) => (call.id === id ? { ...call, ...change(call) } : call));
    return changeAt(messages, index, { toolCalls });
  }
  return messages;
}

/**
 * Ends what the run `run` left open. When it did not end well, its last words stay and say so.
 *
 * @param {Messages} messages @param {string} run @param {'done' | 'cancelled' | 'error'} status
 * @param {import('./client.js').ChatError} [error] @returns {Messages}
 */
export function endMessages(messages, run, status, error) {
  const last = status === 'done' ? undefined : lastWords(messages, run);
  const told = error && defined({ code: error.code, message: error.message });
  const end = { agentws: { status, ...told } };
  return messages.map((message) => {
    if (message.run !== run) return message;
    const open = message.status === 'streaming' || message === last;
    const calls = message.toolCalls?.some((call) => !isOver(call, status));
    if (!open && !calls) return message;
    return {
      ...message,
      ...(open && { status: status === 'done' ? closedStatus(message) : status }),
      ...(message === last && { ...defined({ error: told }), ...withMetadata(message.metadata, end) }),
      ...(calls && { toolCalls: message.toolCalls?.map((call) => endCall(call, status)) }),
    };
  });
}

/**
 * @param {Messages} messages
 * @param {string} run what the assistant said last, or what it was asked
 */
function lastWords(messages, run) {
  const spoken = messages.filter((message) => message.run === run);
  return spoken.findLast(({ role }) => role === 'assistant') ?? spoken.at(-1);
}

/**
 * @param {ToolCall} call
 * @param {string} status a call whose run ended well may still be answered by a client
 */
function isOver(call, status) {
  return (
    call.status === 'done' ||
    call.status === 'error' ||
    (status === 'done' && call.status === 'called')
  );
}

/** @param {ToolCall} call @param {'done' | 'cancelled' | 'error'} status @returns {ToolCall} */
function endCall(call, status) {
  return isOver(call, status) ? call : { ...call, status: status === 'done' ? 'called' : status };
}

/**
 * AG-UI messages as chat messages.
 *
 * @param {readonly any[]} wire @returns {Messages}
 */
export function fromSnapshot(wire) {
  /** @type {Messages} */
  let messages = [];
  for (const message of wire) {
    const answered = message.role === 'tool' && findCall(messages, message.toolCallId);
    messages = answered
      ? changeCall(messages, message.toolCallId, () => callResult(message))
      : join(messages, fromWire(message));
  }
  return withEndedCalls(messages);
}

/**
 * A call of a run that did not end well waits for no result. Where a run began is not told: it is taken
 * to be the question before its last words.
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
 * An older page in front of `messages`. What is on both is there once, and whole: a message that is too
 * large for one page is in each with a part of its text and its calls.
 *
 * @param {Messages} page @param {Messages} messages @returns {Messages}
 */
export function putBefore(page, messages) {
  const ends = new Map(messages.filter(isCut).map((message) => [message.id, message]));
  const older = page.flatMap((message) => {
    const end = ends.get(message.id);
    if (end) return [joined(message, end)];
    return findMessage(messages, message.id) ? [] : [message];
  });
  const begun = new Set(page.filter(({ id }) => ends.has(id)).map(({ id }) => id));
  return [...older, ...messages.filter(({ id }) => !begun.has(id))];
}

/** Whether the beginning of a message is on an older page. @param {ChatMessage} message */
function isCut({ metadata }) {
  return endOf(metadata)?.cut === true;
}

/** @param {ChatMessage} older the part before @param {ChatMessage} newer @returns {ChatMessage} */
function joined(older, newer) {
  const { agentws, ...rest } = /** @type {any} */ (newer.metadata);
  const { cut: _, ...told } = agentws;
  const mark = isCut(older) ? { ...told, cut: true } : told;
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
 * @param {readonly ToolCall[] | undefined} older @param {readonly ToolCall[] | undefined} newer
 * @returns {readonly ToolCall[] | undefined}
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
 * `messages` of a snapshot with the notices that it told of apart, each after the message it came after.
 *
 * @param {Messages} messages @param {readonly any[]} notices @returns {Messages}
 */
export function withNotices(messages, notices) {
  if (notices.length === 0) return messages;
  const known = new Set(messages.map(({ id }) => id));
  const after = (/** @type {string | undefined} */ place) =>
    notices
      .filter((notice) => (known.has(notice.after) ? notice.after : undefined) === place)
      .map((notice) => noticeMessage(notice.position, notice));
  return [...after(undefined), ...messages.flatMap((message) => [message, ...after(message.id)])];
}

/**
 * A snapshot inside a run restates what it names and drops what it omits; activities and reasoning
 * stay unless it brings some of its own, since an agent's history seldom holds them.
 *
 * @param {Messages} messages @param {readonly any[]} wire @returns {Messages}
 */
export function restate(messages, wire) {
  const restated = new Map(fromSnapshot(wire).map((message) => [message.id, message]));
  const brought = new Set([...restated.values()].map(({ role }) => role));
  const kept = messages.filter(({ id, role }) => restated.has(id) || staysUnnamed(role, brought));
  const updated = kept.map((message) => {
    const fresh = restated.get(message.id);
    restated.delete(message.id);
    return fresh ? replaced(message, fresh) : message;
  });
  return [...updated, ...restated.values()];
}

/**
 * AG-UI: what is restated replaces a message whole. Where it belongs, and that it goes on, stays.
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

/** @param {string} role @param {Set<string>} brought */
function staysUnnamed(role, brought) {
  return role === 'notice' || ((role === 'activity' || role === 'reasoning') && !brought.has(role));
}
