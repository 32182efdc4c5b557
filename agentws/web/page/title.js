/**
 * The title of a chat: the one that it was given, or its first message.
 *
 * @module
 */
import { rememberedChats, titleOf } from './chats.js';
import { filesOf } from './parts.js';

/**
 * @param {import('../client.js').ChatSnapshot} snapshot
 * @returns {{title: string | undefined, unnamed: string}} `unnamed` stands for a title that is not known
 */
export function titleIn(snapshot) {
  const { title, session, earlier } = snapshot;
  const first = firstMessage(snapshot);
  const known =
    title ??
    rememberedChats().find(({ id }) => id === session)?.title ??
    (first && showsBeginning(snapshot) ? titleOf(first) : undefined);
  return { title: known, unnamed: earlier === null ? 'New chat' : 'Untitled chat' };
}

/**
 * @param {import('../client.js').ChatSnapshot} snapshot
 * @returns {string | undefined} the first one that is shown; the names of its files if it has no text
 */
export function firstMessage({ messages }) {
  const first = messages.find(({ role }) => role === 'user');
  return (
    first &&
    (first.text ||
      filesOf(first)
        .map(({ name }) => name)
        .join(', '))
  );
}

/**
 * Whether the first message shown is the first of the chat.
 * @param {import('../client.js').ChatSnapshot} snapshot
 */
function showsBeginning({ position, earlier }) {
  return position !== null && earlier === null;
}
