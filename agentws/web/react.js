/**
 * React bindings: a session as an external store.
 *
 * @module
 */
import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react';
import { AgentSocket, idleSnapshot } from './client.js';

/**
 * Sockets by address, session and agent, shared by all components that follow the same session. A socket closes
 * in a microtask after its last component has unmounted, since StrictMode and fast refresh mount it again at once.
 *
 * @type {Map<string, AgentSocket>}
 */
const sockets = new Map();
/** @type {WeakMap<AgentSocket, number>} how many components follow a socket */
const users = new WeakMap();
const METHODS = /** @type {const} */ ([
  'send',
  'edit',
  'regenerate',
  'switchTo',
  'retry',
  'discard',
  'stop',
  'withdraw',
  'editQueued',
  'promote',
  'command',
  'switchAgent',
  'answer',
  'toolResult',
  'patchState',
  'setState',
  'tool',
  'follow',
  'upload',
  'deleteFile',
  'fileUrl',
  'showEarlier',
  'watchPresence',
  'authenticate',
  'reconnect',
]);
/** @typedef {Pick<AgentSocket, typeof METHODS[number]>} Methods */

/** @param {string} key @param {string} url @param {import('./client.js').ConnectOptions} options */
function obtain(key, url, options) {
  const socket = sockets.get(key) ?? new AgentSocket(url, options);
  // A server renders for many users, so it must not share sockets.
  if (globalThis.window !== undefined) sockets.set(key, socket);
  return socket;
}

/** @param {AgentSocket} socket @param {number} change @returns {number} */
function count(socket, change) {
  const left = (users.get(socket) ?? 0) + change;
  users.set(socket, left);
  return left;
}

/** @param {string} key @param {AgentSocket} socket */
function retain(key, socket) {
  count(socket, 1);
  if (!sockets.has(key)) sockets.set(key, socket);
  socket.open();
  return () => {
    count(socket, -1);
    queueMicrotask(() => {
      if (count(socket, 0) > 0) return;
      if (sockets.get(key) === socket) sockets.delete(key);
      socket.close();
    });
  };
}

/**
 * Follows a session. Returns its snapshot with the methods that change it. Options are read when the address,
 * the session or the agent changes, so they may be an inline object.
 *
 * @param {string} url
 * @param {import('./client.js').ConnectOptions} [options]
 */
export function useAgentChat(url, options = {}) {
  const { session, agent } = options;
  const key = JSON.stringify([url, session ?? null, agent ?? null]);
  const socket = useMemo(
    () => obtain(key, url, options),
    // eslint-disable-next-line react-hooks/exhaustive-deps -- the other options are read once
    [key],
  );
  const subscribe = useCallback(
    (/** @type {() => void} */ listener) => {
      const unsubscribe = socket.subscribe(listener);
      const release = retain(key, socket);
      return () => {
        unsubscribe();
        release();
      };
    },
    [key, socket],
  );
  const snapshot = useSyncExternalStore(subscribe, socket.getSnapshot, () => idleSnapshot);
  const methods = useMemo(() => boundMethods(socket), [socket]);
  return useMemo(() => ({ ...snapshot, ...methods }), [snapshot, methods]);
}

/**
 * Has `handler` make the agent's calls of a tool of this client, while the component is mounted.
 *
 * @param {Pick<Methods, 'tool'>} chat of `useAgentChat`
 * @param {string} name
 * @param {(args: any) => unknown} handler may be an inline function: the latest one is called
 */
export function useAgentTool({ tool }, name, handler) {
  const latest = useRef(handler);
  useEffect(() => {
    latest.current = handler;
  }, [handler]);
  useEffect(() => tool(name, (args) => latest.current(args)), [tool, name]);
}

/**
 * Follows a topic on the connection of a chat, while the component is mounted.
 *
 * @param {Pick<Methods, 'follow'>} chat of `useAgentChat`
 * @param {string} topic
 * @returns {import('./client.js').TopicState} the same object until something changes
 */
export function useAgentTopic({ follow }, topic) {
  const [state, setState] = useState(/** @type {any} */ (null));
  useEffect(() => follow(topic, setState), [follow, topic]);
  const idle = useMemo(
    () => ({ topic, position: null, posts: [], reason: null, error: null }),
    [topic],
  );
  // Before the effect has run, and while the state is still that of another topic.
  return state?.topic === topic ? state : idle;
}

/** @param {AgentSocket} socket @returns {Methods} */
function boundMethods(socket) {
  return /** @type {any} */ (
    Object.fromEntries(METHODS.map((name) => [name, socket[name].bind(socket)]))
  );
}

/**
 * Has the form of common WebSocket hooks: `messages` with `content`, `connected`, `sendMessage(text)`.
 *
 * @param {string} url
 * @param {import('./client.js').ConnectOptions} [options]
 */
export function useWebSocket(url, options) {
  const chat = useAgentChat(url, options);
  const { messages: shown, connection, send } = chat;
  const messages = useMemo(
    () => shown.map((message) => ({ ...message, content: message.text })),
    [shown],
  );
  return { messages, connected: connection === 'open', sendMessage: send };
}
