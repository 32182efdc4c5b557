/**
 * The list of chats at the side: searched, and each chat renamed or deleted in its place.
 *
 * @module
 */
import { ChatRow } from './chatrow.js';
import {
  KEY,
  deleteChat,
  forgetChat,
  listedChats,
  matches,
  mergeChats,
  onRemembered,
  rememberedChats,
  renameChat,
} from './chats.js';
import { setText } from './dom.js';

/**
 * @typedef {import('./chats.js').Chat} Chat
 * @typedef {object} Places
 * @property {HTMLElement} list
 * @property {HTMLInputElement} search
 * @property {HTMLElement} note
 * @property {HTMLButtonElement} more
 * @typedef {{renamed?: string, title?: string, deleted?: string}} Change the ids of chats
 * @typedef {object} Actions
 * @property {(session: string) => void} open
 * @property {(session: string, here: boolean) => void} deleted here, or in another tab
 */

/** Milliseconds without a key before the server is asked. */
const TYPING = 250;

export class ChatList {
  #places;
  #actions;
  #otherTabs = channel();
  /** @type {Map<string, ChatRow>} */
  #rows = new Map();
  /** @type {Chat[]} */
  #listed = [];
  /** @type {string | undefined} */
  #before;
  #typing = /** @type {any} */ (0);
  /** What `#listed` was found by. */
  #query = '';
  /** Why the list is not what was asked for. */
  #trouble = '';
  /** Counts the requests: the answer to any but the last is late. */
  #asked = 0;
  /** @type {string | null} */
  #identity = null;
  /** @type {string | null} the chat that is marked */
  #current = null;
  #ofRow = {
    open: (/** @type {string} */ id) => this.#actions.open(id),
    rename: (/** @type {string} */ id, /** @type {string} */ title) => this.#rename(id, title),
    remove: (/** @type {string} */ id) => this.#remove(id),
    begun: (/** @type {ChatRow} */ row) => this.#endOthers(row),
  };

  /** @param {Places} places @param {Actions} actions */
  constructor(places, actions) {
    this.#places = places;
    this.#actions = actions;
    const { search, more } = places;
    search.addEventListener('input', () => this.#typed());
    search.addEventListener('keydown', (event) => this.#key(event));
    more.addEventListener('click', () => void this.#ask({ before: this.#before }));
    this.#otherTabs?.addEventListener('message', ({ data }) => this.#changed(data));
    onRemembered(() => this.draw());
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) this.refresh();
    });
  }

  /** @param {import('../client.js').ChatSnapshot} snapshot */
  update({ connection, identity, session, title }) {
    const known = this.#listed.find(({ id }) => id === session);
    // Another device may have renamed it.
    if (known && title && known.title !== title) this.#changed({ renamed: known.id, title });
    if (session !== this.#current) this.draw(session);
    // Before the server has said who this is, nobody is known.
    if (connection !== 'open' || identity === this.#identity) return;
    this.#identity = identity;
    // What another person had is not for this one.
    this.#asked += 1;
    this.#listed = [];
    this.#before = undefined;
    this.draw();
    this.refresh();
  }

  /** Asks the server again, which lists the chats of an identified person only. */
  refresh() {
    if (this.#identity !== null) void this.#ask({});
  }

  /** @param {string | null} [current] */
  draw(current = this.#current) {
    this.#current = current;
    const { list, search, note, more } = this.#places;
    const chats = this.#chats();
    const rows = [...this.#rows.values()];
    const focused = rows.findIndex((row) => row.hasFocus());
    this.#forget(new Set(chats.map(({ id }) => id)));
    for (const [index, chat] of chats.entries()) {
      const { element } = this.#row(chat);
      const there = list.children[index] ?? null;
      if (element !== there) list.insertBefore(element, there);
    }
    search.hidden = this.#query === '' && search.value === '' && chats.length === 0;
    more.hidden = this.#before === undefined;
    const none = search.value.trim() !== '' && chats.length === 0;
    setText(note, this.#trouble || (none ? 'No chat has these words.' : ''));
    if (focused >= 0) this.#refocus(rows[focused]);
  }

  /** Shows the field that the list is searched by, and moves there. */
  search() {
    const { search } = this.#places;
    search.hidden = false;
    search.focus();
    search.select();
  }

  #chats() {
    const query = this.#places.search.value.trim();
    const isShown = (/** @type {Chat} */ chat) => query === '' || matches(query, chat);
    // Until the server has answered, and where it does not search, the titles are searched here.
    const listed = query === this.#query ? this.#listed : this.#listed.filter(isShown);
    return mergeChats(rememberedChats().filter(isShown), listed);
  }

  /** @param {Set<string>} kept */
  #forget(kept) {
    for (const [id, row] of this.#rows) {
      if (kept.has(id)) continue;
      this.#rows.delete(id);
      row.element.remove();
    }
  }

  /** @param {Chat} chat */
  #row(chat) {
    const row = this.#rows.get(chat.id) ?? new ChatRow(chat, this.#ofRow);
    this.#rows.set(chat.id, row);
    row.update(chat, chat.id === this.#current);
    return row;
  }

  /** An element that moves loses the focus; one that was removed leaves it to the first. @param {ChatRow} row */
  #refocus(row) {
    if (row.hasFocus()) return;
    const [first] = this.#rows.values();
    (row.element.isConnected ? row : (first ?? this.#places.search)).focus();
  }

  #typed() {
    this.draw();
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => this.refresh(), TYPING);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const { search } = this.#places;
    if (event.key !== 'Escape' || search.value === '') return;
    // On the page, Escape stops the run.
    event.stopPropagation();
    event.preventDefault();
    search.value = '';
    this.#typed();
  }

  /** @param {{before?: string}} page */
  async #ask({ before }) {
    const asked = ++this.#asked;
    const query = this.#places.search.value.trim();
    try {
      const page = await listedChats({ query, before }, before ? this.#rows : new Map());
      if (asked !== this.#asked) return;
      this.#listed = before ? [...this.#listed, ...page.chats] : page.chats;
      this.#before = page.before;
      this.#query = query;
      this.#trouble = '';
    } catch (error) {
      if (asked !== this.#asked) return;
      this.#trouble = sentence(/** @type {any} */ (error));
    }
    this.draw();
  }

  /** @param {string} id @param {string} title */
  async #rename(id, title) {
    await renameChat(id, title);
    this.#tell({ renamed: id, title });
  }

  /** @param {string} id */
  async #remove(id) {
    await deleteChat(id);
    this.#tell({ deleted: id });
  }

  /** @param {Change} change */
  #tell(change) {
    this.#otherTabs?.postMessage(change);
    this.#changed(change, true);
  }

  /** @param {Change} change @param {boolean} [here] not in another tab of this browser */
  #changed({ renamed, title = '', deleted }, here = false) {
    this.#listed = this.#listed
      .filter(({ id }) => id !== deleted)
      .map((chat) => (chat.id === renamed ? { ...chat, title } : chat));
    // This tab may have remembered it again meanwhile.
    if (deleted !== undefined) forgetChat(deleted);
    this.draw();
    if (deleted !== undefined) this.#actions.deleted(deleted, here);
  }

  /** @param {ChatRow} row */
  #endOthers(row) {
    for (const other of this.#rows.values()) if (other !== row) other.end();
  }
}

function channel() {
  try {
    return new BroadcastChannel(KEY);
  } catch {
    // Where cookies are forbidden, it is too: other tabs then follow the server alone.
    return null;
  }
}

/** @param {{code?: string, message: string}} error */
function sentence({ code, message }) {
  return code === 'not_supported' ? 'Only titles are searched here.' : message;
}
