/**
 * The sidebar with the list of chats: beside the conversation on a wide page, above it on a narrow one.
 *
 * @module
 */
import { byId } from './dom.js';

const NARROW = '(max-width: 860px)';

export function isNarrow() {
  return matchMedia(NARROW).matches;
}

export function sidebarShown() {
  return document.body.classList.contains(isNarrow() ? 'sidebar-shown' : 'sidebar-wide');
}

/** @param {boolean} shown */
export function showSidebar(shown) {
  const narrow = isNarrow();
  document.body.classList.toggle('sidebar-shown', narrow && shown);
  if (!narrow) document.body.classList.toggle('sidebar-wide', shown);
  byId('sidebar-open').setAttribute('aria-expanded', String(shown));
  const sidebar = byId('sidebar');
  const main = /** @type {HTMLElement} */ (document.querySelector('main'));
  const { activeElement } = document;
  sidebar.inert = !shown;
  // On a narrow page the list covers the conversation.
  main.inert = narrow && shown;
  if (main.inert)
    matchMedia(NARROW).addEventListener('change', () => (main.inert = false), { once: true });
  if (shown && (narrow || activeElement === byId('sidebar-open'))) byId('sidebar-close').focus();
  if (!shown && sidebar.contains(activeElement)) byId('sidebar-open').focus();
}
