/**
 * What single things of the wire are here: an AG-UI message, a call, a result, a notice. Pure.
 *
 * @module
 */

/**
 * @typedef {import('./client.js').ChatMessage} ChatMessage
 * @typedef {import('./client.js').ToolCall} ToolCall
 */

/** @param {any} message an AG-UI message @returns {ChatMessage} */
export function fromWire(message) {
  const { id, role, content, toolCalls, name, metadata, activityType, subagentRunId } = message;
  const { encryptedValue } = message;
  const end = endOf(metadata);
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
      encryptedValue,
      activityType,
      subagent: subagentRunId,
      toolCalls: toolCalls?.map(callFromWire),
    }),
  };
}

/**
 * How the run ended whose last words a message is.
 *
 * @param {import('./client.js').Metadata} [metadata] @returns {any}
 */
export function endOf(metadata) {
  return metadata?.agentws;
}

/** @param {any} call an AG-UI tool call @returns {ToolCall} */
function callFromWire({ id, function: { name, arguments: args }, encryptedValue, metadata }) {
  return { id, name, args, status: 'called', ...defined({ encryptedValue, metadata }) };
}

/**
 * @param {string} id the position at which it was posted
 * @param {any} notice what a `notice.posted` says
 * @returns {ChatMessage}
 */
export function noticeMessage(id, { content, level, metadata }) {
  return { id, role: 'notice', text: content, level, status: 'done', ...defined({ metadata }) };
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
