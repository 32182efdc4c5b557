/**
 * React bindings: a session as an external store.
 *
 * @module
 */
import { useCallback, useMemo, useSyncExternalStore } from 'react';
import { AgentSocket, idleSnapshot } from './client.js';

/**
 * Sockets by address and session. StrictMode and fast refresh unmount and mount again at once, and
 * two components may follow one session: they share one connection, which ends a moment after the last
 * of them is gone.
 *
 * @type {Map<string, AgentSocket>}
 */
const sockets = new Map();
/** @type {WeakMap<AgentSocket, number>} */
const users = new WeakMap();

/** @param {string} key @param {string} url @param {import('./client.js').ConnectOptions} options */
function obtain(key, url, options) {
  const socket = sockets.get(key) ?? new AgentSocket(url, options);
  // A server renders for many and must remember none of them.
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
 * Follows a session and gives what there is to show, with the verbs that change it. Options are read
 * when the address or the session changes, so they may be written in place.
 *
 * @param {string} url
 * @param {import('./client.js').ConnectOptions} [options]
 */
export function useAgentChat(url, options = {}) {
  const { session, agent } = options;
  const key = JSON.stringify([url, session ?? null, agent ?? null]);
  const socket = useMemo(
    () => obtain(key, url, options),
    // eslint-disable-next-line react-hooks/exhaustive-deps -- the rest of the options is taken once
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
  const verbs = useMemo(() => bind(socket), [socket]);
  return useMemo(() => ({ ...snapshot, ...verbs }), [snapshot, verbs]);
}

/** @param {AgentSocket} socket */
function bind(socket) {
  return {
    send: socket.send.bind(socket),
    retry: socket.retry.bind(socket),
    discard: socket.discard.bind(socket),
    stop: socket.stop.bind(socket),
    withdraw: socket.withdraw.bind(socket),
    command: socket.command.bind(socket),
    answer: socket.answer.bind(socket),
    toolResult: socket.toolResult.bind(socket),
    reconnect: socket.reconnect.bind(socket),
  };
}

/**
 * The small hook that many pages have already, on a connection that survives: `messages` have
 * `content`, `sendMessage` takes a text.
 *
 * @param {string} url
 * @param {import('./client.js').ConnectOptions} [options]
 */
export function useWebSocket(url, options) {
  const chat = useAgentChat(url, options);
  const { messages: said, connection, send } = chat;
  const messages = useMemo(
    () => said.map((message) => ({ ...message, content: message.text })),
    [said],
  );
  return { messages, connected: connection === 'open', sendMessage: send };
}
