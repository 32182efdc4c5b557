/**
 * The built-in chat page. It uses only the public client, so it also tests that.
 *
 * @module
 */
import { connect, newSessionId } from './client.js';
import { sessionOfAddress, showAddress } from './page/address.js';
import { AgentPicker, mentionable } from './page/agents.js';
import { Attaching } from './page/attaching.js';
import { drawBanner } from './page/banner.js';
import { forgetChat, rememberChat, rememberedChats } from './page/chats.js';
import { ChatList } from './page/chatlist.js';
import { Commands } from './page/commands.js';
import { Composer, isCommand, keepComposing } from './page/composer.js';
import { accessKey, keepAccessKey } from './page/credentials.js';
import { byId, el, icon, setText } from './page/dom.js';
import { showEarlier } from './page/earlier.js';
import { drawConnection } from './page/pill.js';
import { Queue } from './page/queue.js';
import { drawShared } from './page/sharing.js';
import { isNarrow, showSidebar, sidebarShown } from './page/sidebar.js';
import { firstMessage, titleIn } from './page/title.js';
import { Transcript } from './page/transcript.js';

/**
 * @typedef {import('./client.js').ChatSnapshot} ChatSnapshot
 * @typedef {import('./client.js').AttachedFile} AttachedFile
 */

const BUTTONS = {
  'sidebar-close': 'close',
  'sidebar-open': 'menu',
  'new-chat-small': 'plus',
  stop: 'stop',
  'send-now': 'now',
  attach: 'clip',
  photograph: 'camera',
  send: 'up',
  jump: 'down',
};

class Page {
  /** @type {import('./client.js').AgentSocket} */
  #chat;
  #commands = new Commands(() => this.#quietly('help'));
  /** @type {Map<string, string | null>} what was typed, by its id; null if its answer is not shown */
  #asked = new Map();
  #frame = 0;
  #chats = new ChatList(
    {
      list: byId('sessions'),
      search: byId('search'),
      note: byId('chats-note'),
      more: byId('more-chats'),
    },
    { open: (id) => this.#open(id), deleted: (id, here) => this.#wasDeleted(id, here) },
  );
  /** @type {Set<string>} chats that were deleted while this page is open */
  #deleted = new Set();
  #empty = emptyView();
  #transcript;
  #composer;
  #queue;
  #attaching;
  #agents;
  /** @type {Set<string | null | undefined>} the agents that refused to be steered */
  #unsteerable = new Set();
  /** @type {Map<string, {overlap?: import('./client.js').Overlap, agent?: string | null, files: readonly AttachedFile[]}>} how messages were sent */
  #sent = new Map();

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
        now: byId('send-now'),
        palette: byId('palette'),
        note: byId('composer-note'),
      },
      {
        send: (text, overlap) => this.#send(text, this.#filesFor(text), overlap),
        stop: () => void this.#chat.stop(),
        commands: () => this.#commands.known(this.#chat.getSnapshot()),
        mentionable: (text) => mentionable(text, this.#chat.getSnapshot().agents),
        lastMessage: () =>
          this.#chat.getSnapshot().messages.findLast(({ role }) => role === 'user')?.text,
      },
    );
    this.#queue = new Queue(byId('queue'), {
      edit: (id, text) => this.#chat.editQueued(id, text),
      promote: (id) => this.#chat.promote(id),
      withdraw: (message) => this.#withdraw(message),
      rescue: (text) => this.#composer.rescue(text),
      tell: (sentence) => this.#composer.tell(sentence),
    });
    this.#attaching = new Attaching(
      {
        list: byId('attached'),
        attach: byId('attach'),
        photograph: byId('photograph'),
        picker: byId('picker'),
        camera: byId('camera'),
        input: byId('composer-input'),
        drop: byId('drop'),
      },
      {
        upload: (file, options) => this.#chat.upload(file, options),
        // What can't be deleted expires.
        forget: (id) => void this.#chat.deleteFile(id).catch(() => {}),
        changed: () => this.#schedule(),
        tell: (sentence) => this.#composer.tell(sentence),
      },
    );
    this.#agents = new AgentPicker(byId('agent'), {
      choose: (name) => this.#quietly('agent', name),
      changed: () => this.#schedule(),
      tell: (sentence) => this.#composer.tell(sentence),
    });
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
    byId('sidebar-open').addEventListener('click', () => this.#showChats(!sidebarShown()));
    const tell = (/** @type {string} */ sentence) => this.#composer.tell(sentence);
    const earlier = byId('earlier');
    earlier.addEventListener('click', () => void showEarlier(earlier, this.#chat, tell));
    byId('shared').addEventListener('toggle', () => this.#draw());
    byId('connection').addEventListener('click', () => this.#chat.reconnect());
    byId('composer').addEventListener('changed', () => this.#draw());
    document.addEventListener('keydown', keepComposing, true);
    document.addEventListener('keydown', (event) => this.#key(event));
    window.addEventListener('popstate', () =>
      this.#open(sessionOfAddress() ?? newSessionId(), 'none'),
    );
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key === 'Escape') {
      if (document.body.classList.contains('sidebar-shown') && isNarrow())
        return showSidebar(false);
      if (this.#chat.getSnapshot().run !== null) void this.#chat.stop();
    }
    if ((event.ctrlKey || event.metaKey) && event.key === 'k') {
      event.preventDefault();
      this.#showChats(true);
      this.#chats.search();
    }
    // Typing anywhere on the page types into the message box.
    const plain =
      event.key.length === 1 &&
      !event.ctrlKey &&
      !event.metaKey &&
      !event.altKey &&
      event.key !== ' ';
    const { tabIndex } = /** @type {HTMLElement} */ (event.target);
    if (plain && tabIndex < 0) byId('composer-input').focus();
  }

  /** @param {boolean} shown */
  #showChats(shown) {
    showSidebar(shown);
    if (shown) this.#chats.refresh();
  }

  /** @param {string} session @param {boolean} here not in another tab */
  #wasDeleted(session, here) {
    this.#deleted.add(session);
    if (here && session === this.#chat.session) this.#open(newSessionId(), 'replace');
    else this.#schedule();
  }

  /** @param {string} session @param {'push' | 'replace' | 'none'} [history] */
  #open(session, history = 'push') {
    showSidebar(!isNarrow() && sidebarShown());
    byId('composer-input').focus();
    if (session === this.#chat.session) return;
    this.#chat.close();
    this.#transcript.clear();
    this.#queue.clear();
    this.#attaching.clear();
    this.#asked.clear();
    this.#sent.clear();
    this.#commands.clear();
    this.#agents.clear();
    this.#chat = this.#follow(session, history);
  }

  /** @param {string} session @param {'push' | 'replace' | 'none'} history */
  #follow(session, history) {
    showAddress(session, history);
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
    this.#queue.update(snapshot);
    this.#attaching.update(snapshot);
    this.#transcript.update(snapshot, this.#asked, this.#empty);
    this.#composer.update({
      running: snapshot.run !== null,
      stopping: snapshot.run !== null && snapshot.runs[snapshot.run]?.status === 'cancelling',
      steerable: this.#isSteerable(snapshot),
      files: this.#attaching.state,
    });
    byId('earlier').hidden = snapshot.earlier === null;
    drawShared(byId('shared'), snapshot.shared);
    if (this.#commands.note(snapshot)) this.#composer.refresh();
    this.#agents.update(snapshot);
    drawConnection(snapshot);
    drawBanner(byId('banner'), snapshot, this.#deleted.has(this.#chat.session ?? ''), {
      retry: () => this.#chat.reconnect(),
      fresh: () => this.#leave(),
      signIn: (key) => this.#signIn(key),
    });
    this.#drawTitle(snapshot);
    this.#chats.update(snapshot);
  }

  /** @param {ChatSnapshot} snapshot */
  #drawTitle(snapshot) {
    const { title, unnamed } = titleIn(snapshot);
    setText(byId('title'), title ?? unnamed);
    document.title = title ?? 'Chat';
    const { session: id, connection } = snapshot;
    // One that is refused, since it was deleted, is not remembered again.
    if (!id || !title || connection === 'closed' || this.#deleted.has(id)) return;
    if (firstMessage(snapshot) && rememberChat({ id, title, at: Date.now() })) this.#chats.draw(id);
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

  /** Whether the agent allows that; if it does not say, whether it has not refused that yet. @param {ChatSnapshot} snapshot */
  #isSteerable({ agent, messages, overlaps }) {
    const allowed = overlaps[agent ?? ''];
    if (allowed) return allowed.includes('steer');
    for (const { id, error } of messages) {
      const sent = this.#sent.get(id);
      if (error?.code === 'not_supported' && sent?.overlap) this.#unsteerable.add(sent.agent);
    }
    return !this.#unsteerable.has(agent);
  }

  /** @param {string} text */
  #filesFor(text) {
    return isCommand(text) ? [] : this.#attaching.take();
  }

  /**
   * @param {string} text
   * @param {readonly AttachedFile[]} [files]
   * @param {import('./client.js').Overlap} [overlap]
   */
  #send(text, files = [], overlap) {
    const attachments = files.length > 0 ? files.map(({ id }) => id) : undefined;
    try {
      const id = this.#chat.send(text, { overlap, attachments });
      this.#asked.set(id, text);
      // A mention may be of another agent.
      const agent = text.startsWith('@') ? undefined : this.#chat.getSnapshot().agent;
      this.#sent.set(id, { overlap, agent, files });
    } catch {
      // The outbox is full: the text stays in the box.
      this.#attaching.restore(files);
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
    if (asked) this.#send(asked.text, this.#filesOf(asked));
  }

  /** @param {any} message that was refused */
  #sendAgain(message) {
    const { id, text, error } = message;
    if (error.retryable) return this.#chat.retry(id);
    // Its id is its idempotency key: under the same id it would be refused again.
    this.#chat.discard(id);
    this.#send(text, this.#filesOf(message));
  }

  /** @param {any} message @param {string} text that replaces its own; its files stay */
  #edit({ id, metadata }, text) {
    const attachments = metadata?.attachments?.map((/** @type {any} */ file) => file.id);
    return this.#chat.edit(id, text, attachments && { attachments });
  }

  /** @param {any} message */
  #withdraw(message) {
    this.#chat.withdraw(message.id).then(
      () => {
        this.#composer.restore(message.text);
        this.#attaching.restore(this.#filesOf(message));
      },
      // Its run has begun, so it cannot be withdrawn.
      () => {},
    );
  }

  /** @param {any} message of the user @returns {readonly AttachedFile[]} */
  #filesOf({ id, metadata }) {
    const files = metadata?.attachments ?? this.#sent.get(id)?.files;
    return Array.isArray(files) ? files : [];
  }

  /** Carries out a command, and does not show its answer. @param {string} name @param {string} [args] */
  #quietly(name, args) {
    const id = `quiet-${newSessionId()}`;
    this.#asked.set(id, null);
    return this.#chat.command(name, args, { id });
  }
}

function emptyView() {
  return el(
    'div',
    { class: 'empty' },
    el('h2', {}, 'What can I do for you?'),
    el('p', {}, 'Write a message, or / for commands.'),
  );
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
