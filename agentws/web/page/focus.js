/**
 * Keeps the place of someone who uses the keyboard. What has the focus may vanish because it was used; then the focus
 * would be nowhere, and the next Tab would begin at the top of the page.
 *
 * @module
 */

/** Focuses an element if nothing has the focus. @param {Element | null} element */
export function regain(element) {
  if (document.activeElement === document.body) /** @type {HTMLElement} */ (element)?.focus();
}

/** Focuses an element that only holds a place: it is no stop of the Tab key. @param {HTMLElement} element */
export function hold(element) {
  element.tabIndex = -1;
  element.addEventListener('blur', () => element.removeAttribute('tabindex'), { once: true });
  element.focus({ preventScroll: true });
}

/** The place of the focus in a list whose items are replaced. */
export class Place {
  #list;
  /** @type {{target: HTMLElement, around: HTMLElement[], index: number} | null} */
  #held = null;

  /** @param {HTMLElement} list */
  constructor(list) {
    this.#list = list;
    document.addEventListener('focusin', ({ target }) =>
      this.#note(/** @type {HTMLElement} */ (target)),
    );
  }

  /** Called after the list changed: gives the focus to what is nearest to the place where it was lost. */
  restore() {
    const held = this.#held;
    const { activeElement } = document;
    if (!held || (activeElement !== document.body && activeElement !== held.target)) return;
    if (held.target.isConnected && held.target.checkVisibility()) return;
    const kept = held.around.find(
      (one) => one.isConnected && (one.tagName === 'DETAILS' || one.parentElement === this.#list),
    );
    const items = /** @type {HTMLCollectionOf<HTMLElement>} */ (this.#list.children);
    const next = kept ?? items[Math.min(held.index, items.length - 1)];
    const control = kept ? kept.querySelector('summary') : arrowLike(held.target, next);
    if (control && kept?.tagName !== 'ARTICLE') control.focus({ preventScroll: true });
    else if (next) hold(next);
  }

  /** @param {HTMLElement} target */
  #note(target) {
    const around = [];
    for (let one = target; this.#list.contains(one) && one !== this.#list;) {
      around.push(one);
      one = /** @type {HTMLElement} */ (one.parentElement);
    }
    const index = [...this.#list.children].indexOf(/** @type {any} */ (around.at(-1)));
    this.#held = index < 0 ? null : { target, around, index };
  }
}

/**
 * The arrow between branches that goes on in the same direction; at the end, the one that goes back.
 * @param {HTMLElement} arrow @param {HTMLElement} item @returns {HTMLElement | undefined}
 */
function arrowLike(arrow, item) {
  if (!arrow.closest('.versions')) return undefined;
  /** @type {NodeListOf<HTMLElement>} */
  const found = item.querySelectorAll('.versions:not([hidden]) button:not(:disabled)');
  const arrows = [...found];
  return arrows.find(({ title }) => title === arrow.title) ?? arrows[0];
}
