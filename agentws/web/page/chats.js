/**
 * The list of chats: those that the server lists for this person, and those that this browser remembers
 * because they are anonymous.
 *
 * @module
 */

import { parseExactly } from '../exact.js';
import { credentials } from './credentials.js';

/** @typedef {{id: string, title: string, at: number}} Chat */

const KEY = `agentws:chats:${location.pathname}`;
const CAPACITY = 50;
const TITLE_LENGTH = 60;

/** @returns {Chat[]} the newest first */
export function rememberedChats() {
  try {
    const chats = JSON.parse(localStorage.getItem(KEY) ?? '[]');
    return chats.filter((/** @type {any} */ chat) => typeof chat?.id === 'string');
  } catch {
    return [];
  }
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

/** @returns {Promise<Chat[]>} the server's list; empty if it gives none */
export async function listedChats() {
  try {
    const response = await fetch('sessions', { headers: credentials() });
    if (!response.ok) return [];
    const { sessions } = await response.json();
    return sessions.filter(wasUsed).map(asChat);
  } catch {
    return [];
  }
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
 * @param {{id: string, title?: string, updatedAt: string}} session as the server lists it
 * @returns {Chat}
 */
function asChat({ id, title = '', updatedAt }) {
  return { id, title, at: Date.parse(updatedAt) };
}

/**
 * Requests a page of older messages than the snapshot has.
 *
 * @param {string} id
 * @param {number} before
 * @returns {Promise<import('../client.js').OlderMessages>}
 */
export async function olderMessages(id, before) {
  const response = await fetch(`sessions/${encodeURIComponent(id)}/messages?before=${before}`, {
    headers: credentials(),
  });
  if (!response.ok) throw new Error(`older messages: ${response.status}`);
  return parseExactly(await response.text());
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
