import type { AgentSocket, ChatMessage, ChatSnapshot, ConnectOptions } from './client.js';

type Verbs = Pick<
  AgentSocket,
  | 'send'
  | 'retry'
  | 'discard'
  | 'stop'
  | 'withdraw'
  | 'command'
  | 'answer'
  | 'toolResult'
  | 'reconnect'
>;

/** Follows a session; the connection is shared by all that name the same url, session and agent. */
export function useAgentChat(url: string, options?: ConnectOptions): ChatSnapshot & Verbs;

/** `messages` with `content`, `connected`, `sendMessage(text)`: for components written for a plain socket. */
export function useWebSocket(
  url: string,
  options?: ConnectOptions,
): {
  messages: readonly (Omit<ChatMessage, 'content'> & { content: string })[];
  connected: boolean;
  sendMessage: AgentSocket['send'];
};
