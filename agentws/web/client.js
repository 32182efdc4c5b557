/**
 * The browser client of agentws: plain ES modules, no dependency, no build step.
 *
 *     import { connect } from './client.js';
 *     const chat = connect('/ws/chat');
 *     chat.subscribe(() => render(chat.getSnapshot()));
 *     chat.send('Hello');
 *
 * @module
 */
export { AgentSocket, connect } from './socket.js';
export { Sessions } from './sessions.js';
export { idleSnapshot } from './view.js';
export { newSessionId } from './environment.js';
export { RequestError } from './errors.js';
export { emptyLog, reduce } from './reducer.js';
export { applyPatch } from './patch.js';
export { retryDelay } from './backoff.js';
