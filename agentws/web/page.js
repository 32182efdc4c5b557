/**
 * The built-in chat page. It uses only the public client, so it also tests that.
 *
 * @module
 */
import { connect, newSessionId } from './client.js';
import { drawBanner } from './page/banner.js';
import {
  forgetChat,
  listedChats,
  mergeChats,
  olderMessages,
  rememberChat,
  rememberedChats,
  titleOf,
} from './page/chats.js';
import { Composer } from './page/composer.js';
import { accessKey, keepAccessKey } from './page/credentials.js';
import { byId, el, icon, setText } from './page/dom.js';
import { drawShared } from './page/sharing.js';
import { isNarrow, showSidebar, sidebarShown } from './page/sidebar.js';
import { Transcript } from './page/transcript.js';

/** @typedef {import('./client.js').ChatSnapshot} ChatSnapshot */

const CONNECTION = {
  connecting: 'Connecting',
  open: 'Connected',
  reconnecting: 'Reconnecting',
  offline: 'Offline',
  closed: 'Disconnected',
};

const BUTTONS = {
  'sidebar-close': 'close',
  'sidebar-open': 'menu',
  'new-chat-small': 'plus',
  stop: 'stop',
  send: 'up',
  jump: 'down',
};

class Page {
  /** @type {import('./client.js').AgentSocket} */
  #chat;
  /** @type {readonly {name: string, summary: string}[]} */
  #commands = [];
  /** @type {Map<string, string | null>} what was typed, by its id; null for the request of the commands */
  #asked = new Map();
  #knowsCommands = false;
  #frame = 0;
  /** @type {import('./page/chats.js').Chat[]} */
  #listed = [];
  /** @type {string | null} */
  #listedFor = null;
  #empty = emptyView();
  #transcript;
  #composer;

  constructor() {
    for (const [id, name] of Object.entries(BUTTONS))
      byId(id).append(icon(/** @type {any} */ (name)));
    byId('new-chat').prepend(icon('plus'));
    this.#transcript = new Transcript(
      {
        list: byId('transcript'),
        scroller: byId('scroller'),
        jump: byId('jump'),
        announcer: byId('announcer'),
      },
      {
        again: (message) => this.#tryAgain(message),
        discard: (id) => this.#chat.discard(id),
        withdraw: (message) => this.#withdraw(message),
        edit: (message, text) => this.#edit(message, text),
        fileUrl: (id) => this.#chat.fileUrl(id),
        regenerate: () => this.#chat.regenerate(),
        switchTo: (branch) => this.#chat.switchTo(branch),
        answer: (interrupt, payload, status) => this.#chat.answer(interrupt.id, payload, status),
      },
    );
    this.#composer = new Composer(
      {
        form: byId('composer'),
        input: byId('composer-input'),
        send: byId('send'),
        stop: byId('stop'),
        palette: byId('palette'),
      },
      {
        send: (text) => this.#send(text),
        stop: () => void this.#chat.stop(),
        commands: () => this.#knownCommands(),
        lastMessage: () =>
          this.#chat.getSnapshot().messages.findLast(({ role }) => role === 'user')?.text,
      },
    );
    this.#listen();
    this.#chat = this.#follow(
      sessionOfAddress() ?? rememberedChats()[0]?.id ?? newSessionId(),
      'replace',
    );
  }

  #listen() {
    for (const id of ['new-chat', 'new-chat-small'])
      byId(id).addEventListener('click', () => this.#open(newSessionId()));
    for (const id of ['sidebar-close', 'scrim'])
      byId(id).addEventListener('click', () => showSidebar(false));
    byId('sidebar-open').addEventListener('click', () => showSidebar(!sidebarShown()));
    byId('earlier').addEventListener('click', () => void this.#showEarlier());
    byId('shared').addEventListener('toggle', () => this.#draw());
    byId('connection').addEventListener('click', () => this.#chat.reconnect());
    byId('composer').addEventListener('changed', () => this.#draw());
    document.addEventListener('keydown', (event) => this.#key(event));
    window.addEventListener('popstate', () =>
      this.#open(sessionOfAddress() ?? newSessionId(), 'none'),
    );
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key === 'Escape' && !event.isComposing) {
      if (document.body.classList.contains('sidebar-shown') && isNarrow())
        return showSidebar(false);
      if (this.#chat.getSnapshot().run !== null) void this.#chat.stop();
    }
    // Typing anywhere on the page types into the message box.
    const plain =
      event.key.length === 1 &&
      !event.ctrlKey &&
      !event.metaKey &&
      !event.altKey &&
      event.key !== ' ';
    if (plain && event.target === document.body) byId('composer-input').focus();
  }

  /** @param {string} session @param {'push' | 'replace' | 'none'} [history] */
  #open(session, history = 'push') {
    showSidebar(!isNarrow() && sidebarShown());
    byId('composer-input').focus();
    if (session === this.#chat.session) return;
    this.#chat.close();
    this.#transcript.clear();
    this.#asked.clear();
    this.#commands = [];
    this.#knowsCommands = false;
    this.#chat = this.#follow(session, history);
  }

  /** @param {string} session @param {'push' | 'replace' | 'none'} history */
  #follow(session, history) {
    const address = new URL(location.href);
    address.searchParams.set('session', session);
    if (history === 'push') window.history.pushState(null, '', address);
    if (history === 'replace') window.history.replaceState(null, '', address);
    const chat = connect('ws/chat', { session, storage: storage(), getToken: accessKey });
    chat.subscribe(() => this.#schedule());
    this.#schedule();
    return chat;
  }

  /** Draws at most once per animation frame, however fast deltas arrive; a hidden page has no frames. */
  #schedule() {
    if (this.#frame !== 0) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw() {
    const snapshot = this.#chat.getSnapshot();
    this.#transcript.update(snapshot, this.#asked, this.#empty);
    this.#composer.update({
      running: snapshot.run !== null,
      stopping: snapshot.run !== null && snapshot.runs[snapshot.run]?.status === 'cancelling',
    });
    byId('earlier').hidden = snapshot.earlier === null;
    this.#noteCommands(snapshot);
    drawShared(byId('shared'), snapshot.shared);
    drawConnection(snapshot);
    drawBanner(byId('banner'), snapshot, {
      retry: () => this.#chat.reconnect(),
      fresh: () => this.#leave(),
      signIn: (key) => this.#signIn(key),
    });
    this.#drawTitle(snapshot);
    void this.#list(snapshot);
  }

  /** @param {ChatSnapshot} snapshot */
  #drawTitle(snapshot) {
    const { title, messages, session } = snapshot;
    const first = messages.find(({ role }) => role === 'user')?.text;
    const known =
      title ??
      rememberedChats().find(({ id }) => id === session)?.title ??
      (first && showsBeginning(snapshot) ? titleOf(first) : undefined);
    const unnamed = snapshot.earlier === null ? 'New chat' : 'Untitled chat';
    setText(byId('title'), known ?? unnamed);
    document.title = known ?? 'Chat';
    if (session && known && first && rememberChat({ id: session, title: known, at: Date.now() }))
      this.#drawChats();
    else if (byId('sessions').dataset.session !== session) this.#drawChats();
  }

  /** The server lists the chats of an identified person only. @param {ChatSnapshot} snapshot */
  async #list({ identity }) {
    if (identity === this.#listedFor) return;
    this.#listedFor = identity;
    this.#listed = await listedChats();
    this.#drawChats();
  }

  #drawChats() {
    const current = this.#chat.session;
    const links = mergeChats(rememberedChats(), this.#listed).map(({ id, title }) => {
      const open = (/** @type {MouseEvent} */ event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        this.#open(id);
      };
      return el(
        'a',
        {
          href: `?session=${encodeURIComponent(id)}`,
          dir: 'auto',
          'aria-current': id === current && 'page',
          click: open,
        },
        title || 'Untitled chat',
      );
    });
    byId('sessions').dataset.session = current ?? '';
    byId('sessions').replaceChildren(...links);
  }

  async #showEarlier() {
    const chat = this.#chat;
    const { session, earlier } = chat.getSnapshot();
    const button = byId('earlier');
    if (session === null || earlier === null || button.disabled) return;
    button.disabled = true;
    try {
      const page = await olderMessages(session, earlier);
      // Another chat or snapshot may have replaced this one meanwhile.
      if (chat.getSnapshot().earlier === earlier) chat.showEarlier(page);
    } catch {
      // The button stays, so that the person can try again.
    } finally {
      button.disabled = false;
    }
  }

  /** @param {string} key */
  #signIn(key) {
    keepAccessKey(key);
    this.#chat.reconnect();
    byId('composer-input').focus();
  }

  /** Gives up a chat that can't be opened. */
  #leave() {
    forgetChat(this.#chat.session ?? '');
    this.#open(newSessionId());
  }

  /** @param {string} text */
  #send(text) {
    try {
      this.#asked.set(this.#chat.send(text), text);
    } catch {
      // The outbox is full: the text stays in the box.
      return this.#composer.restore(text);
    }
    this.#draw();
    this.#transcript.toEnd();
  }

  /** @param {any} message the last message of a failed run, or a message that was refused */
  #tryAgain(message) {
    if (message.unsent) return this.#sendAgain(message);
    const { messages } = this.#chat.getSnapshot();
    const at = messages.findIndex(({ id }) => id === message.id);
    const asked = messages.slice(0, at + 1).findLast(({ role }) => role === 'user');
    if (asked) this.#send(asked.text);
  }

  /** @param {any} message that was refused */
  #sendAgain({ id, text, error }) {
    if (error.retryable) return this.#chat.retry(id);
    // Its id is its idempotency key: under the same id it would be refused again.
    this.#chat.discard(id);
    this.#send(text);
  }

  /** @param {any} message @param {string} text that replaces its own; its files stay */
  #edit({ id, metadata }, text) {
    const attachments = metadata?.attachments?.map((/** @type {any} */ file) => file.id);
    return this.#chat.edit(id, text, attachments && { attachments });
  }

  /** @param {any} message */
  #withdraw(message) {
    this.#chat.withdraw(message.id).then(
      () => this.#composer.restore(message.text),
      // Its run has begun, so it cannot be withdrawn.
      () => {},
    );
  }

  /** Requests the commands when the first slash is typed: most conversations never need them. */
  #knownCommands() {
    if (!this.#knowsCommands && this.#chat.getSnapshot().connection === 'open') {
      this.#knowsCommands = true;
      const id = `commands-${newSessionId()}`;
      this.#asked.set(id, null);
      this.#chat.command('help', undefined, { id }).catch(() => (this.#knowsCommands = false));
    }
    return this.#commands;
  }

  /** @param {ChatSnapshot} snapshot */
  #noteCommands({ notices }) {
    const commands = notices.findLast(({ metadata }) => Array.isArray(metadata?.commands))?.metadata
      ?.commands;
    if (!commands || commands === this.#commands) return;
    this.#commands = /** @type {any} */ (commands);
    this.#composer.refresh();
  }
}

/** @param {ChatSnapshot} snapshot */
function drawConnection({ connection }) {
  const pill = byId('connection');
  pill.dataset.state = connection;
  pill.disabled = connection === 'open' || connection === 'connecting';
  pill.title = pill.disabled ? '' : 'Try now';
  setText(byId('connection-text'), CONNECTION[connection]);
}

/**
 * Whether the first message shown is the first of the chat.
 * @param {ChatSnapshot} snapshot
 */
function showsBeginning({ position, earlier }) {
  return position !== null && earlier === null;
}

function emptyView() {
  return el(
    'div',
    { class: 'empty' },
    el('h2', {}, 'What can I do for you?'),
    el('p', {}, 'Write a message, or / for commands.'),
  );
}

function sessionOfAddress() {
  return new URLSearchParams(location.search).get('session');
}

/** @returns {Storage | undefined} */
function storage() {
  try {
    return sessionStorage;
  } catch {
    return undefined;
  }
}

showSidebar(!isNarrow() && rememberedChats().length > 1);
new Page();
