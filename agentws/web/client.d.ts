/** Types of the browser client. Its modules document what the parts do. */

export interface Clock {
  now(): number;
  setTimeout(act: () => void, milliseconds: number): unknown;
  clearTimeout(timer: unknown): void;
}

/** Where the client listens for `online`, `offline`, visibility and page lifecycle events. */
export interface Signals {
  window?: EventTarget;
  document?: EventTarget & { hidden: boolean };
}

export type Metadata = Record<string, unknown>;

/** AG-UI content parts; members that are not declared here are kept. */
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
  /** What the server would have accepted instead, as a phrase. */
  expected?: string;
  metadata?: Metadata;
}

/** How far a tool call, or a run, is. It does not stay in the conversation. */
export interface Progress {
  message?: string;
  done?: number;
  total?: number;
}

export interface ToolCall {
  id: string;
  name: string;
  /** JSON; incomplete while streaming. */
  args: string;
  /** `called`: the arguments are complete, the result has not arrived. */
  status: 'streaming' | 'called' | 'done' | 'cancelled' | 'error';
  result?: Content;
  error?: string;
  progress?: Progress;
  /** Only the model's provider can read it. */
  encryptedValue?: string;
  /** `agentws` of a call that ended has `status`, `duration` in seconds, `kind`, and `editedArgs` if a person replaced the arguments. */
  metadata?: Metadata;
}

export interface ChatMessage {
  id: string;
  role:
    'user' | 'assistant' | 'system' | 'developer' | 'reasoning' | 'activity' | 'tool' | 'notice';
  /** The text of `content`. */
  text: string;
  /**
   * `sending`: not accepted yet. `queued`: in the log, its run has not begun. `cancelled` and `error`: how the run
   * ended, on its last message. `error` on a user message: it was refused.
   */
  status: 'sending' | 'queued' | 'streaming' | 'done' | 'cancelled' | 'error';
  /** In the outbox, not known to be in the log: it can be retried, withdrawn or discarded. */
  unsent?: true;
  /** The run that this belongs to, if known. */
  run?: string;
  error?: ChatError;
  /** Content parts, or the content of an activity; absent when the content is a text. */
  content?: any;
  toolCalls?: ToolCall[];
  /** The agent that wrote it, where there are several. */
  name?: string;
  level?: 'info' | 'warning' | 'error';
  activityType?: string;
  /** The id of the subagent that wrote it: it is no part of the answer. */
  subagent?: string;
  /** Of a queued message. `steer`: the active run may take it, so it is neither edited nor promoted. */
  overlap?: Overlap;
  /** Only the model's provider can read it. */
  encryptedValue?: string;
  /** Merged from all its events; in the last message of a run, `agentws` says how the run failed or was cancelled. In a user message it names the branches at its place. */
  metadata?: Metadata;
}

export interface Run {
  id: string;
  status: 'running' | 'cancelling' | 'finished' | 'cancelled' | 'interrupted' | 'failed';
  /** The id of the user message that it answers. */
  message?: string;
  /** The agent that answers now, where there are several. */
  agent?: string;
  /** The agents that it has asked for help, by id: `ChatMessage.subagent` is one. */
  subagents?: Readonly<Record<string, Subagent>>;
  step?: string;
  progress?: Progress;
  error?: ChatError;
  usage?: Record<string, unknown>[];
}

/** An agent that works inside the run of another one. */
export interface Subagent {
  name: string;
  status: 'running' | 'finished' | 'suspended' | 'failed';
  /** What it was asked to do, shortened. */
  description?: string;
  /** The id of the subagent that asked it, if that was one. */
  parent?: string;
  error?: ChatError;
}

export interface Interrupt {
  id: string;
  reason: string;
  message?: string;
  run?: string;
  toolCallId?: string;
  /** The subagent that asks. */
  subagentRunId?: string;
  responseSchema?: Record<string, unknown>;
  expiresAt?: string;
  metadata?: Metadata;
}

/** A question whose answer arrived while this client was connected. */
export interface AnsweredInterrupt extends Interrupt {
  answer: {
    status: 'resolved' | 'cancelled';
    payload?: any;
    /** The identity that answered. */
    by?: string;
    /** Nobody answered before its deadline. */
    expired?: boolean;
  };
  /** The id of the message after which it was answered. */
  after?: string | null;
}

/**
 * Ephemeral: a broadcast, the answer to a command, or a note that the server lost the conversation that was shown
 * (`metadata.code` is `conversation_lost`).
 */
export interface Notice {
  key: string;
  content: string;
  level: 'info' | 'warning' | 'error';
  /** The id of the message after which it arrived; that message may have been removed since. */
  after: string | null;
  topic?: string;
  reply?: string;
  metadata?: Metadata;
}

/** A post of a topic; `id` is its position in the topic. */
export interface TopicPost {
  id: string;
  content: string;
  level: 'info' | 'warning' | 'error';
  /** Milliseconds since the epoch. */
  timestamp?: number;
  metadata?: Metadata;
}

/** What is known of a topic that is followed. */
export interface TopicState {
  topic: string;
  /** The last position received; `follow` resumes after it. */
  position: string | null;
  /** The newest last; at most 1,000. */
  posts: readonly TopicPost[];
  /** Why the posts were replaced: those before the first one may be missing. Null after a replay. */
  reason: string | null;
  /** Why it can't be followed now; it is asked for again, at the latest on the next connection. */
  error: ChatError | null;
}

export interface EventFrame {
  id: string;
  /** The topic whose log it is of; absent for an event of the session. */
  topic?: string;
  run?: string;
  event: { type: string; [field: string]: any };
}

export interface SendFrame extends SendOptions {
  type: 'send';
  id: string;
  content: Content;
}

/** The gateway's limits for a client: sizes in bytes, `messageRate` per second. */
export interface Limits {
  maxMessageSize: number;
  maxQueued: number;
  messageRate: number;
  /** This and the following are absent if the gateway keeps no files. */
  maxFileSize?: number;
  maxFilesPerMessage?: number;
  fileTypes?: string[];
}

/** The projection of a session's log. */
export interface Log {
  /** The position of its last event. */
  position: string | null;
  messages: readonly ChatMessage[];
  queue: readonly ChatMessage[];
  runs: Readonly<Record<string, Run>>;
  /** The id of the active run. */
  run: string | null;
  interrupts: readonly Interrupt[];
  /** The last questions that were answered, and older ones that came with pages of older messages. */
  answered: readonly AnsweredInterrupt[];
  /** The state that the agent and its clients share. */
  shared: any;
  title: string | null;
  agent: string | null;
  /** The `before` of a request for older messages, or for the beginning of a long message; null if there are none. */
  earlier: number | null;
  /** The last frame was part of a snapshot: more parts may follow at the same position. */
  restated: boolean;
  /** The messages that AG-UI chunks without an id continue. */
  lane: { text?: string; reasoning?: string; tool?: string };
}

export type ConnectionState = 'connecting' | 'open' | 'reconnecting' | 'offline' | 'closed';

export interface ChatSnapshot extends Omit<Log, 'lane' | 'restated'> {
  connection: ConnectionState;
  /** Failed attempts since the connection was last stable. */
  attempt: number;
  /** The time of the next attempt, in milliseconds of the clock. */
  retryAt: number | null;
  /** Why the connection was closed or lost. */
  error: ChatError | null;
  status: 'submitted' | 'streaming' | 'ready' | 'error';
  session: string | null;
  /** The conversation, then the queue, then the outbox. */
  messages: readonly ChatMessage[];
  notices: readonly Notice[];
  agents: readonly string[];
  /** What the agents allow, by name; of those that declare it for all their runs. */
  overlaps: Readonly<Record<string, readonly Overlap[]>>;
  identity: string | null;
  limits: Limits | null;
}

export interface SendOptions {
  id?: string;
  overlap?: Overlap;
  agent?: string;
  attachments?: string[];
  metadata?: Metadata;
}

/** A file that was uploaded: its `id` goes into the `attachments` of a message. */
export interface UploadedFile {
  id: string;
  name: string;
  /** Recognized by the content. */
  type: string;
  /** In bytes. */
  size: number;
  /** In hex. */
  sha256: string;
  createdAt: string;
}

/** A file in `metadata.attachments` of a user message, or the content of an activity of the type `agentws.file`. */
export type AttachedFile = Pick<UploadedFile, 'id' | 'name' | 'type' | 'size'>;

export interface UploadOptions {
  /** By default that of a `File`. */
  name?: string;
  /** Called with the bytes that were sent, and the size of the file. */
  onProgress?: (sent: number, size: number) => void;
  /** Aborts the upload. */
  signal?: AbortSignal;
  /** Sends cookies to a gateway of another origin, which must allow this page's by name. */
  credentials?: boolean;
}
/** `id` becomes the id of the new message. */
export type EditOptions = Omit<SendOptions, 'overlap'>;

export interface ConnectOptions {
  /** The session to follow; without one the server creates one. */
  session?: string;
  /** The agent of a new session. */
  agent?: string;
  /** Called before every attempt, so that a reconnect has a valid token. */
  getToken?: () => string | null | undefined | Promise<string | null | undefined>;
  /** Stores unsent messages across a reload, for example `sessionStorage`. */
  storage?: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>;
  WebSocket?: new (url: string, protocols: string[]) => WebSocket;
  XMLHttpRequest?: new () => XMLHttpRequest;
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

/** A page of AG-UI messages. A long message may be on several pages, with a part on each. */
export interface OlderMessages {
  messages: readonly any[];
  /** Requests the page before this one; absent on the first. */
  before?: number;
  /** The notices posted between these messages. */
  notices?: readonly any[];
  /** The questions that were asked and answered among them. */
  answered?: readonly AnsweredInterrupt[];
}

export interface SessionsOptions {
  /** Called before every request. */
  getToken?: ConnectOptions['getToken'];
  /** Sends cookies to a gateway of another origin, which must allow this page's by name. */
  credentials?: boolean;
  fetch?: typeof fetch;
}

export interface SessionsQuery {
  /** The words of a title, or of messages; a store that can't search refuses it with `not_supported`. */
  query?: string;
  /** The `before` of the page before this one. */
  before?: string;
  /** At most 200; by default 50. */
  limit?: number;
}

/** A session in a list. Its times are in ISO 8601. */
export interface SessionInfo {
  id: string;
  agent?: string;
  createdAt: string;
  updatedAt: string;
  title?: string;
  metadata?: Metadata;
  /** For how many seconds it is kept after its last use. */
  retention?: number | null;
}

export interface SessionsPage {
  sessions: SessionInfo[];
  /** Requests the next page; absent on the last. */
  before?: string;
}

/** Who is connected to the session, on all nodes. */
export interface Presence {
  connections: number;
  /** The identities among them, at most a hundred; connections without an identity are only counted. */
  members: { id: string; connections: number }[];
}

export class RequestError extends Error {
  constructor(error: ChatError);
  code?: string;
  retryable?: boolean;
  expected?: string;
}

/** The sessions of a person, over HTTP. Every method rejects with a `RequestError`. */
export class Sessions {
  /** `url` as of `connect`. */
  constructor(url: string, options?: SessionsOptions);
  /** Those of the person, the last used first. Nobody owns an anonymous session, so it is not listed. */
  list(query?: SessionsQuery): Promise<SessionsPage>;
  /** One session. */
  get(id: string): Promise<SessionInfo>;
  /** Every client that follows it learns its new title. */
  rename(id: string, title: string): Promise<SessionInfo>;
  /** Deletes it with its log and its files. Its id can't be used again. */
  delete(id: string): Promise<void>;
  /** Older messages than a snapshot has, for `showEarlier`. `before` is the snapshot's `earlier`. */
  messages(id: string, before: number): Promise<OlderMessages>;
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
  /** Replaces a queued message in its place. Rejects when its run has begun. */
  editQueued(
    message: string,
    content: Content,
    more?: { attachments?: string[]; metadata?: Metadata },
  ): Promise<Accepted>;
  /** Moves a queued message to the front. Rejects when its run has begun. */
  promote(message: string): Promise<Accepted>;
  edit(message: string, content: Content, options?: EditOptions): Promise<Accepted>;
  regenerate(message?: string): Promise<Accepted>;
  switchTo(branch: string): Promise<Accepted>;
  command(name: string, args?: string, options?: { id?: string }): Promise<Accepted>;
  /** Gives the session another agent: one of `agents`. */
  switchAgent(name: string): Promise<Accepted>;
  answer(
    interrupt: string,
    payload?: unknown,
    status?: 'resolved' | 'cancelled',
  ): Promise<Accepted>;
  toolResult(toolCallId: string, result: { content?: Content; error?: string }): Promise<Accepted>;
  /** Has `handler` make the agent's calls of a tool of this client; returns a function that ends this. */
  tool(name: string, handler: (args: any) => unknown): () => void;
  /** Follows a topic, also over reconnects; returns a function that ends this. */
  follow(
    topic: string,
    listener: (state: TopicState) => void,
    options?: { after?: string },
  ): () => void;
  /** Changes the shared state, if the agent accepts it; the snapshot has it as `shared`. */
  patchState(patch: Operation[]): Promise<Accepted>;
  /** Calls `listener` with who is in the session, now and whenever that changes; returns a function that ends this. */
  watchPresence(listener: (presence: Presence) => void): () => void;
  upload(file: Blob, options?: UploadOptions): Promise<UploadedFile>;
  /** Deletes an uploaded file, such as one that no message is sent with. */
  deleteFile(id: string, options?: { credentials?: boolean }): Promise<void>;
  fileUrl(id: string): string;
  setState(value: unknown): Promise<Accepted>;
  authenticate(token: string): Promise<Accepted>;
}

export const idleSnapshot: ChatSnapshot;
export const emptyLog: Log;

export function connect(
  url: string | (() => string | Promise<string>),
  options?: ConnectOptions,
): AgentSocket;
/** An unguessable id for a new session; also works on pages over plain http. */
export function newSessionId(): string;
export function reduce(log: Log, frame: EventFrame): Log;
export function applyPatch(document: unknown, operations: readonly Operation[]): unknown;
export function retryDelay(
  attempt: number,
  random: () => number,
  options?: { base?: number; cap?: number; atLeast?: number },
): number;
