/**
 * The state of the connection, at the top of the page.
 *
 * @module
 */
import { byId, setText } from './dom.js';

const CONNECTION = {
  connecting: 'Connecting',
  open: 'Connected',
  reconnecting: 'Reconnecting',
  offline: 'Offline',
  closed: 'Disconnected',
};

/** @param {import('../client.js').ChatSnapshot} snapshot */
export function drawConnection({ connection }) {
  const pill = byId('connection');
  pill.dataset.state = connection;
  pill.disabled = connection === 'open' || connection === 'connecting';
  // A disabled button can't keep the focus.
  if (pill.disabled && document.activeElement === pill) byId('composer-input').focus();
  pill.title = pill.disabled ? '' : 'Try now';
  setText(byId('connection-text'), CONNECTION[connection]);
}
