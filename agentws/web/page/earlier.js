/**
 * The button above a conversation that shows older messages.
 *
 * @module
 */
import { sessions } from './chats.js';
import { byId } from './dom.js';
import { regain } from './focus.js';

/**
 * @param {HTMLButtonElement} button @param {import('../client.js').AgentSocket} chat
 * @param {(sentence: string) => void} tell
 */
export async function showEarlier(button, chat, tell) {
  const { session, earlier } = chat.getSnapshot();
  if (session === null || earlier === null || button.disabled) return;
  button.disabled = true;
  try {
    const page = await sessions.messages(session, earlier);
    // Another chat or snapshot may have replaced this one meanwhile.
    if (chat.getSnapshot().earlier === earlier) chat.showEarlier(page);
    tell('');
  } catch (error) {
    // The button stays, so that the person can try again.
    tell(/** @type {Error} */ (error).message);
  } finally {
    button.disabled = false;
    if (chat.getSnapshot().earlier !== null) regain(button);
    else regain(byId('transcript'));
  }
}
