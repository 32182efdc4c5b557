/**
 * The conversation on the page: a keyed list that is updated in place. It stays scrolled to its end unless the
 * reader has scrolled away.
 *
 * @module
 */
import { setText } from './dom.js';
import { hold, Place } from './focus.js';
import { clearHighlights } from './highlight.js';
import { itemsOf, same } from './items.js';
import { views } from './views.js';

/** Pixels from the end that still count as the end. */
const NEAR_END = 80;

export class Transcript {
  #elements;
  #actions;
  /** @type {Map<string, {view: import('./views.js').View, kind: string, item: any}>} */
  #shown = new Map();
  /** @type {string | null} the answer announced last, or already there when the page opened */
  #announced = null;
  /** @type {string | null | undefined} the question announced last; undefined until the chat was read */
  #asked;
  #fresh = true;
  #atEnd = true;
  /** Where the conversation was scrolled to last. */
  #top = 0;
  #place;

  /**
   * @param {{list: HTMLElement, scroller: HTMLElement, jump: HTMLElement, announcer: HTMLElement}} elements
   * @param {import('./views.js').Actions} actions
   */
  constructor(elements, actions) {
    this.#elements = elements;
    this.#actions = actions;
    const { scroller, jump, list } = elements;
    scroller.addEventListener('scroll', () => this.#onScroll(), { passive: true });
    this.#place = new Place(list);
    jump.addEventListener('click', () => {
      this.toEnd(true);
      // The button is about to vanish.
      const last = list.lastElementChild;
      if (last) hold(/** @type {HTMLElement} */ (last));
    });
    // Fonts, opened cards and an on-screen keyboard change heights without a change of the conversation.
    new ResizeObserver(() => this.#scrollToEnd()).observe(list);
    new ResizeObserver(() => this.#scrollToEnd()).observe(scroller);
  }

  /**
   * @param {import('../client.js').ChatSnapshot} snapshot
   * @param {Map<string, string | null>} asked see `itemsOf`
   * @param {Node} empty shown when there is nothing
   */
  update(snapshot, asked, empty) {
    const items = itemsOf(snapshot, asked);
    const { list, scroller } = this.#elements;
    const [first] = list.childNodes;
    const height = scroller.scrollHeight;
    const nodes = items.map((item) => this.#show(item));
    if (nodes.length === 0) nodes.push(/** @type {any} */ (empty));
    this.#forget(new Set(items.map(({ key }) => key)));
    place(list, nodes);
    this.#place.restore();
    list.setAttribute('aria-busy', String(snapshot.run !== null));
    // Older messages in front must not move what is being read.
    if (first?.parentNode === list && first !== list.firstChild) {
      scroller.scrollTop += scroller.scrollHeight - height;
    }
    this.#announce(snapshot);
    this.#announceQuestion(snapshot);
    this.#scrollToEnd();
  }

  /** Removes everything, before another conversation is shown. */
  clear() {
    this.#shown.clear();
    this.#elements.list.replaceChildren();
    clearHighlights();
    this.#announced = null;
    this.#asked = undefined;
    this.#fresh = true;
    this.#atEnd = true;
  }

  /** @param {boolean} [smoothly] */
  toEnd(smoothly = false) {
    const { scroller } = this.#elements;
    this.#atEnd = true;
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    scroller.scrollTo({
      top: scroller.scrollHeight,
      behavior: smoothly && !calm ? 'smooth' : 'instant',
    });
  }

  /** @param {import('./items.js').Item} item @returns {HTMLElement} */
  #show(item) {
    let known = this.#shown.get(item.key);
    if (known?.kind !== item.kind) {
      known = { view: views[item.kind](item, this.#actions), kind: item.kind, item: null };
      known.view.element.dataset.key = item.key;
      this.#shown.set(item.key, known);
    }
    if (!known.item || !same(known.item, item)) known.view.update(item);
    known.item = item;
    return known.view.element;
  }

  /** @param {Set<string>} kept */
  #forget(kept) {
    for (const key of this.#shown.keys()) {
      if (!kept.has(key)) this.#shown.delete(key);
    }
  }

  /**
   * Announces complete answers only: a screen reader cannot follow single words.
   * @param {import('../client.js').ChatSnapshot} snapshot
   */
  #announce({ messages, position }) {
    const last = messages.findLast(
      ({ role, status, text }) => role === 'assistant' && status !== 'streaming' && text !== '',
    );
    const isNew = last && last.id !== this.#announced;
    if (isNew && !this.#fresh) setText(this.#elements.announcer, last.text);
    this.#announced = last?.id ?? this.#announced;
    if (position !== null) this.#fresh = false;
  }

  /** @param {import('../client.js').ChatSnapshot} snapshot */
  #announceQuestion({ interrupts, position }) {
    const last = interrupts.at(-1);
    if (last && last.id !== this.#asked && this.#asked !== undefined)
      setText(this.#elements.announcer, last.message ?? 'The agent is waiting for your answer.');
    if (position !== null) this.#asked = last?.id ?? this.#asked ?? null;
  }

  #onScroll() {
    const { scroller, jump } = this.#elements;
    const { scrollTop } = scroller;
    const left = scroller.scrollHeight - scroller.clientHeight - scrollTop;
    // Upwards only a person scrolls, maybe by a few pixels at a time.
    this.#atEnd = left < (scrollTop < this.#top ? 2 : NEAR_END);
    this.#top = scrollTop;
    jump.hidden = this.#atEnd;
  }

  #scrollToEnd() {
    const { scroller, jump } = this.#elements;
    if (this.#atEnd) scroller.scrollTop = scroller.scrollHeight;
    this.#top = scroller.scrollTop;
    jump.hidden = this.#atEnd;
  }
}

/**
 * Makes `nodes` the children of `list`, without moving one that is in place already.
 * @param {HTMLElement} list
 * @param {Node[]} nodes
 */
function place(list, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...list.childNodes]) {
    if (!wanted.has(child)) child.remove();
  }
  let next = list.firstChild;
  for (const node of nodes) {
    if (node === next) next = next?.nextSibling ?? null;
    else list.insertBefore(node, next);
  }
}
