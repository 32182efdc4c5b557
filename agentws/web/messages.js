/**
 * The list of messages that a log stands for, and every change an event can make to it. Pure.
 *
 * A tool message of the wire becomes the `result` of the call it answers, so a reader has one place
 * to look at. A message keeps the `run` that made it, which is how a run's end finds what it ends.
 *
 * @module
 */

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
    return changeMessage(messages, id, () => ({ status: 'streaming' }));
  return [
    ...messages,
    { id, role: 'assistant', text: '', ...defined(fields), status: 'streaming' },
  ];
}

/**
 * What comes of a message that is gone (a cleared history) finds no place, so an unknown id is no error.
 *
 * @param {Messages} messages @param {string} id @param {string} delta @returns {Messages}
 */
export function appendText(messages, id, delta) {
  return changeMessage(messages, id, (message) => ({ text: message.text + delta }));
}

/** @param {Messages} messages @param {string} id @returns {Messages} */
export function closeMessage(messages, id) {
  return changeMessage(messages, id, ({ status }) => ({
    status: status === 'streaming' ? 'done' : status,
  }));
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
 * A call belongs to the assistant message `parent`; without one it gets a message of its own.
 *
 * @param {Messages} messages
 * @param {string} id
 * @param {string} name
 * @param {string | undefined} parent
 * @param {string | undefined} run
 * @returns {Messages}
 */
export function openCall(messages, id, name, parent, run) {
  if (findCall(messages, id)) return messages;
  const host = parent ?? id;
  const known = messages[indexOf(messages, host)];
  const hosted = known ? messages : [...messages, bareMessage(host, run)];
  /** @type {ToolCall} */
  const call = { id, name, args: '', status: 'streaming' };
  return changeMessage(hosted, host, (message) => ({
    toolCalls: [...(message.toolCalls ?? []), call],
  }));
}

/** @param {string} id @param {string | undefined} run @returns {ChatMessage} */
function bareMessage(id, run) {
  return { id, role: 'assistant', text: '', status: 'done', ...defined({ run }) };
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

/** @param {any} event a TOOL_CALL_RESULT, or a tool message @returns {Partial<ToolCall>} */
export function callResult(event) {
  const error = event.error ?? event.metadata?.agentws?.error;
  const failed = error !== undefined && error !== false;
  return {
    status: failed ? 'error' : 'done',
    result: event.content,
    ...(failed && { error: typeof error === 'string' ? error : textOf(event.content) }),
  };
}

/**
 * Ends what the run `run` left open. When it did not end well, its last words stay and say so.
 *
 * @param {Messages} messages @param {string} run @param {'done' | 'cancelled' | 'error'} status
 * @param {import('./client.js').ChatError} [error] @returns {Messages}
 */
export function endMessages(messages, run, status, error) {
  const last = status === 'done' ? undefined : lastWords(messages, run);
  return messages.map((message) => {
    if (message.run !== run) return message;
    const open = message.status === 'streaming' || message === last;
    const calls = message.toolCalls?.some((call) => !isOver(call, status));
    if (!open && !calls) return message;
    return {
      ...message,
      ...(open && { status }),
      ...(message === last && defined({ error })),
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
  return messages;
}

/** @param {any} message an AG-UI message @returns {ChatMessage} */
export function fromWire(message) {
  const { id, role, content, toolCalls, name, metadata, activityType, subagentRunId } = message;
  const end = metadata?.agentws;
  return {
    id,
    role,
    text: role === 'activity' ? '' : textOf(content),
    status: end?.status ?? 'done',
    ...defined({
      error: end?.status === 'error' ? { code: end.code, message: end.message ?? '' } : undefined,
      content: typeof content === 'string' ? undefined : content,
      name,
      metadata,
      activityType,
      subagent: subagentRunId,
      toolCalls: toolCalls?.map(callFromWire),
    }),
  };
}

/** @param {any} call an AG-UI tool call @returns {ToolCall} */
function callFromWire(call) {
  return { id: call.id, name: call.function.name, args: call.function.arguments, status: 'called' };
}

/**
 * @param {string} id the position at which it was posted
 * @param {any} notice what a `notice.posted` says
 * @returns {ChatMessage}
 */
export function noticeMessage(id, { content, level, metadata }) {
  return { id, role: 'notice', text: content, level, status: 'done', ...defined({ metadata }) };
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
    return fresh ? { ...message, ...fresh, status: message.status } : message;
  });
  return [...updated, ...restated.values()];
}

/** @param {string} role @param {Set<string>} brought */
function staysUnnamed(role, brought) {
  return role === 'notice' || ((role === 'activity' || role === 'reasoning') && !brought.has(role));
}

/**
 * @param {unknown} content a string or AG-UI content parts
 * @returns {string} what a person may read of it
 */
export function textOf(content) {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return '';
  return content.map((part) => (part?.type === 'text' ? part.text : '')).join('');
}

/**
 * @template {object} T
 * @param {T} fields
 * @returns {T} without those that are undefined
 */
export function defined(fields) {
  return /** @type {T} */ (
    Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
  );
}
