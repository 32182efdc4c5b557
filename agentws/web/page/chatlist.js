/**
 * The list of chats at the side.
 *
 * @module
 */
import { listedChats, mergeChats, rememberedChats } from './chats.js';
import { el } from './dom.js';

export class ChatList {
  #place;
  #open;
  /** @type {import('./chats.js').Chat[]} */
  #listed = [];
  /** @type {string | null} */
  #listedFor = null;
  /** @type {string | null | undefined} the chat that is marked */
  #current;

  /** @param {HTMLElement} place @param {(session: string) => void} open */
  constructor(place, open) {
    this.#place = place;
    this.#open = open;
  }

  /**
   * The server lists the chats of an identified person only.
   * @param {import('../client.js').ChatSnapshot} snapshot
   */
  async update({ identity, session }) {
    if (session !== this.#current) this.draw(session);
    if (identity === this.#listedFor) return;
    this.#listedFor = identity;
    this.#listed = await listedChats();
    this.draw(this.#current ?? null);
  }

  /** @param {string | null} current */
  draw(current) {
    this.#current = current;
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
    const focused = document.activeElement;
    const had = this.#place.contains(focused) && focused?.getAttribute('href');
    this.#place.replaceChildren(...links);
    if (had) links.find((link) => link.getAttribute('href') === had)?.focus();
  }
}
