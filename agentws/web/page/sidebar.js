/**
 * The sidebar with the list of chats: beside the conversation on a wide page, above it on a narrow one.
 *
 * @module
 */
import { byId } from './dom.js';

export function isNarrow() {
  return matchMedia('(max-width: 860px)').matches;
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
  byId('sidebar').inert = !shown;
  if (narrow && shown) byId('sidebar-close').focus();
}
