/**
 * The tools of this client: functions that an agent calls by `ctx.client_tool`.
 *
 * @module
 */
import { parseExactly, spelled } from './exact.js';
import { findCall } from './messages.js';

/**
 * Has `handler` make the calls of one tool, those that are open already too. It is given the arguments; what it
 * returns is sent as the result, and what it throws as the error. Another client may be first.
 *
 * @param {import('./socket.js').AgentSocket} socket
 * @param {string} name
 * @param {(args: any) => unknown} handler
 * @returns {() => void} ends it
 */
export function handleTool(socket, name, handler) {
  const begun = new Set();
  const look = () => {
    const { interrupts, messages } = socket.getSnapshot();
    for (const { id, reason, metadata } of interrupts) {
      /** @type {any} */
      const told = metadata?.agentws;
      if (reason !== 'agentws:client_tool' || told?.tool !== name || begun.has(id)) continue;
      begun.add(id);
      make(() => handler(parseExactly(findCall(messages, id)?.args || '{}')))
        .then((result) => socket.toolResult(id, result))
        .catch(async ({ code, message }) => {
          // Nobody else has answered: the agent would wait for ever.
          const refused = code === 'bad_request' || code === 'too_large';
          if (refused) await socket.toolResult(id, { error: `The result: ${message}` });
        })
        .catch(() => {});
    }
  };
  const unsubscribe = socket.subscribe(look);
  look();
  return unsubscribe;
}

/** @param {() => unknown} call @returns {Promise<{content: string} | {error: string}>} */
async function make(call) {
  try {
    const result = await call();
    return { content: typeof result === 'string' ? result : (spelled(result) ?? 'null') };
  } catch (error) {
    return { error: String(/** @type {any} */ (error)?.message || error) };
  }
}
