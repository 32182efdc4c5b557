/**
 * The list of chats: those that the server lists for this person, and those that this browser remembers
 * because they are anonymous.
 *
 * @module
 */

import { Sessions } from '../client.js';
import { accessKey } from './credentials.js';

/** @typedef {{id: string, title: string, at: number}} Chat */

/** Where the browser remembers them; also what its tabs call each other by. */
export const KEY = `agentws:chats:${location.pathname}`;
const CAPACITY = 50;
const TITLE_LENGTH = 60;

/** The sessions of this person on the server. */
export const sessions = new Sessions('ws/chat', { getToken: accessKey });

/** @returns {Chat[]} the newest first */
export function rememberedChats() {
  try {
    const chats = JSON.parse(localStorage.getItem(KEY) ?? '[]');
    return chats.filter(isChat);
  } catch {
    return [];
  }
}

/** Another version may have remembered something else. @param {any} chat @returns {boolean} */
function isChat(chat) {
  return typeof chat?.id === 'string' && chat.id !== '' && typeof chat.title === 'string';
}

/** @param {Chat} chat @returns {boolean} whether that changed the list */
export function rememberChat(chat) {
  const chats = rememberedChats();
  const known = chats.find(({ id }) => id === chat.id);
  if (known?.title === chat.title && known === chats[0]) return false;
  return store([{ ...chat, at: known?.at ?? chat.at }, ...chats.filter((one) => one !== known)]);
}

/** @param {string} id */
export function forgetChat(id) {
  return store(rememberedChats().filter((chat) => chat.id !== id));
}

/** @param {Chat[]} chats */
function store(chats) {
  try {
    localStorage.setItem(KEY, JSON.stringify(chats.slice(0, CAPACITY)));
  } catch {
    // Storage is forbidden: the address of the page still names the current chat.
  }
  return true;
}

/**
 * Every visit to the page makes a session. One without a message is not listed.
 *
 * @param {{createdAt: string, updatedAt: string}} session
 */
function wasUsed({ createdAt, updatedAt }) {
  return createdAt !== updatedAt;
}

/**
 * @param {import('../client.js').SessionInfo} session as the server lists it
 * @returns {Chat}
 */
function asChat({ id, title = '', updatedAt }) {
  return { id, title, at: Date.parse(updatedAt) };
}

/**
 * The next chats of the server's list, without those that nobody has used. They end with a page on which a
 * chat is not `shown` already, or with the last one.
 *
 * @param {import('../client.js').SessionsQuery} query
 * @param {{has(id: string): boolean}} shown
 * @returns {Promise<{chats: Chat[], before: string | undefined}>}
 */
export async function listedChats(query, shown) {
  let { before } = query;
  /** @type {Chat[]} */
  const chats = [];
  for (;;) {
    const page = await sessions.list({ ...query, before });
    chats.push(...page.sessions.filter(wasUsed).map(asChat));
    before = page.before;
    if (before === undefined || !chats.every(({ id }) => shown.has(id))) return { chats, before };
  }
}

/** @param {string} query @param {Chat} chat @returns {boolean} whether all its words are in the title */
export function matches(query, { title }) {
  const words = query.toLowerCase().split(/\s+/);
  return words.every((word) => title.toLowerCase().includes(word));
}

/** @param {string} id @param {string} title */
export async function renameChat(id, title) {
  await sessions.rename(id, title);
  store(rememberedChats().map((chat) => (chat.id === id ? { ...chat, title } : chat)));
}

/** @param {string} id */
export async function deleteChat(id) {
  try {
    await sessions.delete(id);
  } catch (error) {
    // It may be gone already, or the server may have lost it: then it only leaves the list.
    if (!isGone(error) || (await isThere(id))) throw error;
  }
  forgetChat(id);
}

/** @param {string} id */
function isThere(id) {
  return sessions.get(id).then(
    () => true,
    (error) => !isGone(error),
  );
}

/** How the server says that it has no such session for this person. @param {any} error */
function isGone({ code }) {
  return code === 'forbidden' || code === 'not_found';
}

/** Calls `listener` when another tab has changed what this browser remembers. @param {() => void} listener */
export function onRemembered(listener) {
  addEventListener('storage', ({ key }) => {
    if (key === KEY) listener();
  });
}

/** Both lists without duplicates, the newest first. @param {Chat[]} remembered @param {Chat[]} listed @returns {Chat[]} */
export function mergeChats(remembered, listed) {
  const titles = new Map(remembered.map(({ id, title }) => [id, title]));
  const named = listed.map((chat) => ({
    ...chat,
    title: chat.title || (titles.get(chat.id) ?? ''),
  }));
  const ids = new Set(listed.map(({ id }) => id));
  return [...named, ...remembered.filter(({ id }) => !ids.has(id))].sort((a, b) => b.at - a.at);
}

/** @param {string} text @returns {string} the title of a chat with this first message */
export function titleOf(text) {
  const characters = Array.from(text.trim().split('\n')[0]);
  return characters.length > TITLE_LENGTH
    ? `${characters.slice(0, TITLE_LENGTH - 1).join('')}…`
    : characters.join('');
}
