import type {
  AgentSocket,
  ChatMessage,
  ChatSnapshot,
  ConnectOptions,
  TopicState,
} from './client.js';

type Methods = Pick<
  AgentSocket,
  | 'send'
  | 'retry'
  | 'discard'
  | 'stop'
  | 'edit'
  | 'regenerate'
  | 'switchTo'
  | 'withdraw'
  | 'editQueued'
  | 'promote'
  | 'command'
  | 'switchAgent'
  | 'answer'
  | 'toolResult'
  | 'patchState'
  | 'setState'
  | 'tool'
  | 'follow'
  | 'upload'
  | 'deleteFile'
  | 'fileUrl'
  | 'showEarlier'
  | 'watchPresence'
  | 'authenticate'
  | 'reconnect'
>;

/** Follows a session. Components with the same url, session and agent share one connection. */
export function useAgentChat(url: string, options?: ConnectOptions): ChatSnapshot & Methods;

/** Has `handler` make the agent's calls of a tool of this client, while the component is mounted. */
export function useAgentTool(
  chat: Pick<AgentSocket, 'tool'>,
  name: string,
  handler: (args: any) => unknown,
): void;

/** Follows a topic on the connection of a chat, while the component is mounted. */
export function useAgentTopic(chat: Pick<AgentSocket, 'follow'>, topic: string): TopicState;

/** For components written for a plain WebSocket: `messages` with `content`, `connected`, `sendMessage(text)`. */
export function useWebSocket(
  url: string,
  options?: ConnectOptions,
): {
  messages: readonly (Omit<ChatMessage, 'content'> & { content: string })[];
  connected: boolean;
  sendMessage: AgentSocket['send'];
};
