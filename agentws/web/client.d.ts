/** Types of the browser client. See `client.js` for what the parts do. */

export interface Clock {
  now(): number;
  setTimeout(act: () => void, milliseconds: number): unknown;
  clearTimeout(timer: unknown): void;
}

/** Where the client listens for the network and the page coming and going. */
export interface Signals {
  window?: EventTarget;
  document?: EventTarget & { hidden: boolean };
}

export type Metadata = Record<string, unknown>;

/** AG-UI content parts; other members than these are passed on. */
export type ContentPart =
  | { type: 'text'; text: string; metadata?: unknown }
  | {
      type: 'image' | 'audio' | 'video' | 'document';
      source: Record<string, unknown>;
      metadata?: unknown;
    };

export type Content = string | ContentPart[];

export type Overlap = 'queue' | 'steer' | 'interrupt' | 'reject';

export type Operation =
  | { op: 'add' | 'replace' | 'test'; path: string; value: unknown }
  | { op: 'remove'; path: string }
  | { op: 'move' | 'copy'; path: string; from: string };

export interface ChatError {
  code?: string;
  message: string;
  retryable?: boolean;
  metadata?: Metadata;
}

export interface ToolCall {
  id: string;
  name: string;
  /** JSON, as far as it has arrived. */
  args: string;
  /** `called`: the arguments are complete and the result is awaited. */
  status: 'streaming' | 'called' | 'done' | 'cancelled' | 'error';
  result?: Content;
  error?: string;
  /** What only its provider can read. */
  encryptedValue?: string;
  metadata?: Metadata;
}

export interface ChatMessage {
  id: string;
  role:
    'user' | 'assistant' | 'system' | 'developer' | 'reasoning' | 'activity' | 'tool' | 'notice';
  /** What a person may read of it. */
  text: string;
  /**
   * `sending`: not yet accepted. `queued`: in the log, waiting its turn. `cancelled` and `error`: how the
   * run ended whose last words these are, or (a user message) that it was refused.
   */
  status: 'sending' | 'queued' | 'streaming' | 'done' | 'cancelled' | 'error';
  /** It is not known to have reached the log: it can be sent again, or discarded. */
  unsent?: true;
  /** The run that this belongs to, where it is known. */
  run?: string;
  error?: ChatError;
  /** Content parts, or an activity's content, when it is more than a text. */
  content?: any;
  toolCalls?: ToolCall[];
  name?: string;
  level?: 'info' | 'warning' | 'error';
  activityType?: string;
  subagent?: string;
  overlap?: Overlap;
  /** What only its provider can read. */
  encryptedValue?: string;
  /** Of all its events; `agentws` says how the run ended whose last words these are, if not well. */
  metadata?: Metadata;
}

export interface Run {
  id: string;
  status: 'running' | 'cancelling' | 'finished' | 'cancelled' | 'interrupted' | 'failed';
  /** The id of the user message that it answers. */
  message?: string;
  step?: string;
  error?: ChatError;
  usage?: Record<string, unknown>[];
}

export interface Interrupt {
  id: string;
  reason: string;
  message?: string;
  run?: string;
  toolCallId?: string;
  responseSchema?: Record<string, unknown>;
  expiresAt?: string;
  metadata?: Metadata;
}

/**
 * Ephemeral: a broadcast, the answer to a command, or that the server no longer has the conversation that
 * was shown (`metadata.code` is `conversation_lost`).
 */
export interface Notice {
  key: string;
  content: string;
  level: 'info' | 'warning' | 'error';
  /** The id of the message after which it came; it may be gone since. */
  after: string | null;
  topic?: string;
  reply?: string;
  metadata?: Metadata;
}

export interface EventFrame {
  id: string;
  run?: string;
  event: { type: string; [field: string]: any };
}

export interface SendFrame extends SendOptions {
  type: 'send';
  id: string;
  content: Content;
}

/** What a log means. */
export interface Log {
  /** The position of the last event in it. */
  position: string | null;
  messages: readonly ChatMessage[];
  queue: readonly ChatMessage[];
  runs: Readonly<Record<string, Run>>;
  /** The run that is going on. */
  run: string | null;
  interrupts: readonly Interrupt[];
  /** The state that the agent shares. */
  shared: any;
  title: string | null;
  agent: string | null;
  /** What asks for the older messages that a snapshot left out, or for the beginning of a long one. */
  earlier: number | null;
  /** A snapshot was the last that came: more of it may stand at the same position. */
  restated: boolean;
  /** Messages that AG-UI chunks continue without naming them. */
  lane: { text?: string; reasoning?: string; tool?: string };
}

export type ConnectionState = 'connecting' | 'open' | 'reconnecting' | 'offline' | 'closed';

export interface ChatSnapshot extends Omit<Log, 'lane' | 'restated'> {
  connection: ConnectionState;
  /** How many attempts have failed since the connection was last stable. */
  attempt: number;
  /** When the next attempt is due, by the clock. */
  retryAt: number | null;
  /** Why the connection is closed, or was lost. */
  error: ChatError | null;
  status: 'submitted' | 'streaming' | 'ready' | 'error';
  session: string | null;
  /** The conversation, what waits in the queue, and what is being sent, in this order. */
  messages: readonly ChatMessage[];
  notices: readonly Notice[];
  agents: readonly string[];
  identity: string | null;
  limits: Record<string, number> | null;
}

export interface SendOptions {
  id?: string;
  overlap?: Overlap;
  agent?: string;
  attachments?: string[];
  metadata?: Metadata;
}

export interface ConnectOptions {
  /** The session to follow; without one the server makes one. */
  session?: string;
  /** The agent that a new session talks to. */
  agent?: string;
  /** Asked before every attempt, so that a reconnect has fresh credentials. */
  getToken?: () => string | null | undefined | Promise<string | null | undefined>;
  /** Where unsent messages survive a reload; `sessionStorage`, say. */
  storage?: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>;
  WebSocket?: new (url: string, protocols: string[]) => WebSocket;
  clock?: Clock;
  random?: () => number;
  signals?: Signals;
  newId?: () => string;
}

export interface Accepted {
  reply: string;
  position: string;
  durability: 'process' | 'disk' | 'replicated';
  duplicate?: boolean;
}

/** AG-UI messages, and what asks for still older ones. A long message may be in several, part by part. */
export interface OlderMessages {
  messages: readonly any[];
  before?: number;
  /** What was posted among them. */
  notices?: readonly any[];
}

export class RequestError extends Error {
  code?: string;
  retryable?: boolean;
}

export class AgentSocket {
  constructor(url: string | (() => string | Promise<string>), options?: ConnectOptions);
  readonly session: string | null;
  open(): this;
  close(): void;
  reconnect(): void;
  getSnapshot: () => ChatSnapshot;
  subscribe: (listener: () => void) => () => void;
  send(content: Content, options?: SendOptions): string;
  retry(id: string): void;
  discard(id: string): void;
  showEarlier(page: OlderMessages): void;
  stop(): Promise<Accepted | null>;
  withdraw(id: string): Promise<Accepted | null>;
  command(name: string, args?: string, options?: { id?: string }): Promise<Accepted>;
  answer(
    interrupt: string,
    payload?: unknown,
    status?: 'resolved' | 'cancelled',
  ): Promise<Accepted>;
  toolResult(toolCallId: string, result: { content?: Content; error?: string }): Promise<Accepted>;
  patchState(patch: Operation[]): Promise<Accepted>;
  authenticate(token: string): Promise<Accepted>;
}

export const idleSnapshot: ChatSnapshot;
export const emptyLog: Log;

export function connect(
  url: string | (() => string | Promise<string>),
  options?: ConnectOptions,
): AgentSocket;
/** An id for a new session, which nobody guesses; on plain-http pages of a local network too. */
export function newSessionId(): string;
export function reduce(log: Log, frame: EventFrame): Log;
export function applyPatch(document: unknown, operations: readonly Operation[]): unknown;
export function retryDelay(
  attempt: number,
  random: () => number,
  options?: { base?: number; cap?: number; atLeast?: number },
): number;
