/**
 * The list of messages, and every change that a single event makes to it. Pure. What a snapshot or a page of
 * the history makes of it is in `history.js`.
 *
 * A message keeps the `run` that made it: the end of a run closes the messages of that run.
 *
 * @module
 */
import { parsePosition } from './position.js';
import { defined, endOf } from './wire.js';

/**
 * @typedef {import('./client.js').ChatMessage} ChatMessage
 * @typedef {import('./client.js').ToolCall} ToolCall
 * @typedef {import('./client.js').Metadata} Metadata
 * @typedef {readonly ChatMessage[]} Messages
 */

/**
 * Searches from the end, where the deltas go.
 *
 * @param {Messages} messages @param {string} id @returns {number}
 */
function indexOf(messages, id) {
  return messages.findLastIndex((message) => message.id === id);
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
 * Changes nothing for an unknown id: the history may have been cleared since the message began.
 *
 * @param {Messages} messages
 * @param {string} id
 * @param {(message: ChatMessage) => Partial<ChatMessage>} change
 * @param {Metadata} [metadata] of the event, merged into that of the message
 * @returns {Messages}
 */
export function changeMessage(messages, id, change, metadata) {
  const index = indexOf(messages, id);
  const message = messages[index];
  if (!message) return messages;
  return changeAt(messages, index, {
    ...change(message),
    ...withMetadata(message.metadata, metadata),
  });
}

/**
 * Adds the message `id`, or opens it again: a known id is continued, never added twice.
 *
 * @param {Messages} messages
 * @param {string} id
 * @param {Partial<ChatMessage>} fields
 * @returns {Messages}
 */
export function openMessage(messages, id, fields) {
  const status = /** @type {const} */ ('streaming');
  return findMessage(messages, id)
    ? changeMessage(messages, id, () => ({ status }), fields.metadata)
    : [...messages, { id, role: 'assistant', text: '', ...defined(fields), status }];
}

/**
 * A message whose content is not a text does not change.
 *
 * @param {Messages} messages @param {string} id @param {string} delta @param {Metadata} [metadata]
 * @returns {Messages}
 */
export function appendText(messages, id, delta, metadata) {
  return changeMessage(
    messages,
    id,
    ({ content, role, text }) =>
      content === undefined && role !== 'tool' ? { text: text + delta } : {},
    metadata,
  );
}

/** @param {Messages} messages @param {string} id @param {Metadata} [metadata] @returns {Messages} */
export function closeMessage(messages, id, metadata) {
  return changeMessage(
    messages,
    id,
    ({ status, metadata: known }) => ({ status: closedStatus(status, { ...known, ...metadata }) }),
    metadata,
  );
}

/**
 * A message that had failed or was cancelled before it was opened again gets that status back.
 *
 * @param {ChatMessage['status']} status @param {Metadata} [metadata] @returns {ChatMessage['status']}
 */
function closedStatus(status, metadata) {
  return status === 'streaming' ? (endOf(metadata)?.status ?? 'done') : status;
}

/**
 * Keeps a value that only the model's provider can read.
 *
 * @param {Messages} messages @param {string} id @param {string} encryptedValue @returns {Messages}
 */
export function setEncryptedValue(messages, id, encryptedValue) {
  return changeMessage(messages, id, ({ role }) => (role === 'activity' ? {} : { encryptedValue }));
}

/**
 * The metadata of an event merged into that of its message or call; the newest value of a key wins.
 *
 * @param {Metadata | undefined} known @param {Metadata | undefined} added
 */
export function withMetadata(known, added) {
  return added && Object.keys(added).length > 0 ? { metadata: { ...known, ...added } } : {};
}

/**
 * @param {Messages} messages
 * @param {ChatMessage} message
 * @returns {Messages} with `message` at the end, unless its id is known
 */
export function addMessage(messages, message) {
  return indexOf(messages, message.id) >= 0 ? messages : [...messages, message];
}

/**
 * Removes what is on another branch: the message `replaced` and all after it, or everything when only later
 * messages are loaded. A notice that was posted after that stays.
 *
 * @param {Messages} messages @param {any} event a `history.branched` @returns {Messages}
 */
export function cutAt(messages, { replaced, hidden }) {
  const at = indexOf(messages, replaced);
  return messages.filter(
    ({ id, role }, index) => index < at || (role === 'notice' && parsePosition(id).seq > hidden[1]),
  );
}

/**
 * Adds a tool call to the assistant message that it names, or to a new message. A known call is continued
 * where it is.
 *
 * @param {Messages} messages
 * @param {any} event a TOOL_CALL_START, or a chunk that begins a call
 * @param {string | undefined} run
 * @returns {Messages}
 */
export function openCall(messages, event, run) {
  const { toolCallId: id, toolCallName: name, parentMessageId, metadata } = event;
  if (findCall(messages, id)) return changeCall(messages, id, () => ({}), metadata);
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

/** @param {Messages} messages @param {string} id @returns {number} of the message that holds the call */
function indexOfCall(messages, id) {
  return messages.findLastIndex(({ toolCalls }) => toolCalls?.some((call) => call.id === id));
}

/** @param {Messages} messages @param {string} id @returns {ToolCall | undefined} */
export function findCall(messages, id) {
  return messages[indexOfCall(messages, id)]?.toolCalls?.find((call) => call.id === id);
}

/**
 * @param {Messages} messages
 * @param {string} id
 * @param {(call: ToolCall) => Partial<ToolCall>} change
 * @param {Metadata} [metadata] of the event, merged into that of the call
 * @returns {Messages}
 */
export function changeCall(messages, id, change, metadata) {
  const index = indexOfCall(messages, id);
  const toolCalls = messages[index]?.toolCalls?.map((call) =>
    call.id === id ? { ...call, ...change(call), ...withMetadata(call.metadata, metadata) } : call,
  );
  return toolCalls ? changeAt(messages, index, { toolCalls }) : messages;
}

/**
 * Closes what the run `run` left open. After a failed or cancelled run its last message says so.
 *
 * @param {Messages} messages @param {string} run @param {'done' | 'cancelled' | 'error'} status
 * @param {import('./client.js').ChatError} [error] @returns {Messages}
 */
export function endMessages(messages, run, status, error) {
  const last = status === 'done' ? undefined : lastMessage(messages, run);
  const cause = error && defined({ code: error.code, message: error.message });
  const branches = endOf(last?.metadata)?.branches;
  const end = { agentws: { status, ...cause, ...defined({ branches }) } };
  return messages.map((message) => {
    if (message.run !== run) return message;
    const open = message.status === 'streaming' || message === last;
    const calls = message.toolCalls?.some((call) => !isOver(call, status));
    if (!open && !calls) return message;
    return {
      ...message,
      ...(open && {
        status: status === 'done' ? closedStatus(message.status, message.metadata) : status,
      }),
      ...(message === last && {
        ...defined({ error: cause }),
        ...withMetadata(message.metadata, end),
      }),
      ...(calls && { toolCalls: message.toolCalls?.map((call) => endCall(call, status)) }),
    };
  });
}

/**
 * @param {Messages} messages
 * @param {string} run its last answer, or else the question
 */
function lastMessage(messages, run) {
  const own = messages.filter((message) => message.run === run);
  return own.findLast(({ role }) => role === 'assistant') ?? own.at(-1);
}

/**
 * @param {ToolCall} call
 * @param {string} status of the run; after a successful one a client may still send the call's result
 */
function isOver(call, status) {
  return (
    call.status === 'done' ||
    call.status === 'error' ||
    (call.status === 'cancelled' && call.result !== undefined) ||
    (status === 'done' && call.status === 'called')
  );
}

/** @param {ToolCall} call @param {'done' | 'cancelled' | 'error'} status @returns {ToolCall} */
export function endCall(call, status) {
  return isOver(call, status) ? call : { ...call, status: status === 'done' ? 'called' : status };
}
