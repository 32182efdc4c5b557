/**
 * Converts single AG-UI objects (a message, a tool call, its result, a notice) to the client's types. Pure.
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
 * The gateway's own metadata of a message: how its run failed or was cancelled, or that a page cut it.
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
 * @param {any} notice a `notice.posted` event
 * @returns {ChatMessage}
 */
export function noticeMessage(id, { content, level, metadata }) {
  return { id, role: 'notice', text: content, level, status: 'done', ...defined({ metadata }) };
}

/** @param {any} event a TOOL_CALL_RESULT, or a tool message @returns {Partial<ToolCall>} */
export function callResult(event) {
  const { status, error: told } = event.metadata?.agentws ?? {};
  const error = event.error ?? told ?? (status === 'error' || status === 'denied');
  const failed = error !== undefined && error !== false;
  return {
    status: status === 'stopped' ? 'cancelled' : failed ? 'error' : 'done',
    result: event.content,
    ...(failed && { error: typeof error === 'string' ? error : textOf(event.content) }),
  };
}

/**
 * @param {unknown} content a string or AG-UI content parts
 * @returns {string} the text in it
 */
export function textOf(content) {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return '';
  return content.map((part) => (part?.type === 'text' ? part.text : '')).join('');
}

/**
 * @template {object} T
 * @param {T} fields
 * @returns {T} without the undefined ones
 */
export function defined(fields) {
  return /** @type {T} */ (
    Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
  );
}
